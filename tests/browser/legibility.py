"""Whether texts stand out from what is behind them, by WCAG 2.2, 1.4.3 (level AA); and pages on paper."""

from __future__ import annotations

from playwright.sync_api import Page

COLOURS = """
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const mix = (front, back, a) => front * a + back * (1 - a);
  const over = ([r, g, b, a], [R, G, B]) => [mix(r, R, a), mix(g, G, a), mix(b, B, a), 1];
  const behind = (element) => {
    if (!element) return [255, 255, 255, 1];
    const own = parse(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, behind(element.parentElement));
  };
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
"""
FAINT_TEXTS = f"""
() => {{{COLOURS}
  const faint = [];
  for (const element of document.querySelectorAll(":is(nav, .container, #login-main) *")) {{
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("[disabled], .modal, script")) continue;
    const style = getComputedStyle(element), background = behind(element);
    const [a, b] = [light(over(parse(style.color), background)), light(background)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5))
      faint.push(`${{element.textContent.trim().slice(0, 40)}}: ${{contrast.toFixed(2)}}`);
  }}
  return faint;
}}
"""
NOT_FOR_PAPER = f"""
() => {{{COLOURS}
  const found = [];
  for (const element of document.querySelectorAll("body *")) {{
    if (!element.checkVisibility() || element.closest("[class*=visually-hidden]")) continue;
    const say = (what) => found.push(`${{what}}: ${{element.outerHTML.slice(0, 80)}}`);
    const style = getComputedStyle(element);
    if (element.matches("nav, button, .btn, form:not(#spawn_form)")) say("to be pressed");
    if (element.matches("input")) continue;
    if (light(behind(element)) < 0.9) say("dark ground");
    if (light(parse(style.color)) > 0.2) say("pale");
    const {{ left, right }} = element.getBoundingClientRect();
    if (left < 0 || right > innerWidth + 1) say("beyond the page");
    if (style.overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1) say("cut");
  }}
  if (getComputedStyle(document.documentElement).colorScheme !== "light") found.push("dark paper");
  return found;
}}
"""


def faint_texts(page: Page) -> list[str]:
    """Visible texts with too little contrast, each with its ratio."""
    found: list[str] = page.evaluate(FAINT_TEXTS)
    return found


def not_for_paper(page: Page) -> list[str]:
    """What is pale, on a dark ground, cut off or of no use when the page is printed, with its beginning."""
    page.emulate_media(media="print")
    found: list[str] = page.evaluate(NOT_FOR_PAPER)
    return found
