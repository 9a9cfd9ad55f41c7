"""What a run of the simulation leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field

from .orders import Holding


@dataclass(slots=True)
class Outcome:
    """What happened in a run. Times are milliseconds; GPU times are milliseconds times cards."""

    cards: int
    sessions: int = 0
    """Those that took part."""
    refused: int = 0
    """Those that want more cards than there are: they never start, under no rule."""
    start_waits: list[int] = field(default_factory=list)
    """How long sessions were in line for their first cards."""
    return_waits: list[int] = field(default_factory=list)
    """How long they were in line when they came back."""
    holdings: list[tuple[Holding, int]] = field(default_factory=list)
    """Who had which cards, and until when."""
    held: int = 0
    """GPU time in which cards were held."""
    covered: int = 0
    """GPU time in which cards were held by a session with an event under way."""
    idle_if_held: int = 0
    """GPU time that would be held with no event under way if every session held its cards from start to
    stop."""
    useful: float = 0.0
    """GPU time in which cards were used by an event: it may use fewer than its session holds."""
    computed: float | None = 0.0
    """Useful time weighted with the recorded utilisation; None when that is not known of all."""
    reclaims: int = 0
    """How often cards were taken back."""
    wrongful: int = 0
    """Of these, how often while an event ran."""
    returns: int = 0
    """How often a session asked again for cards that were taken back."""
    quick_returns: int = 0
    """Of these, how often within ten minutes."""
    demanded: dict[str, int] = field(default_factory=dict)
    """GPU time of work by user."""
    received: dict[str, float] = field(default_factory=dict)
    """Of it, what was done before the recorded stop of its session."""
    ended_at: int = 0
    """When the last session stopped."""
