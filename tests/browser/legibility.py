"""Whether texts stand out from what is behind them, by the rule of WCAG 2.2, 1.4.3 (level AA)."""

from __future__ import annotations

from playwright.sync_api import Page

FAINT_TEXTS = """
() => {
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
  const faint = [];
  for (const element of document.querySelectorAll(":is(nav, .container, #login-main) *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("[disabled], .modal, script")) continue;
    const style = getComputedStyle(element), background = behind(element);
    const [a, b] = [light(over(parse(style.color), background)), light(background)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5))
      faint.push(`${element.textContent.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return faint;
}
"""


def faint_texts(page: Page) -> list[str]:
    """Visible texts with too little contrast, each with its ratio."""
    found: list[str] = page.evaluate(FAINT_TEXTS)
    return found
