"""How far the rows may go whose bar no change has reached yet, by name. README.md says why, and what was tried.

A floor is the figure that was measured on a quiet machine and about a twentieth more. A row that comes back to its bar loses it.
"""

from __future__ import annotations

from typing import Final

FLOORS: Final = {
    "recorded invoke": 1.35,
    "recorded ainvoke": 1.37,
    "recorded invoke, tools bound": 1.29,
    "recorded stream, per token": 1.19,
    "recorded astream, per token": 1.2,
    "recorded create_agent, 100 turns, per turn": 1.27,
    "recorded create_agent, 400 turns, per turn": 1.35,
    "recorded create_agent, 400 turns against 100": 1.13,
    "recording 400 turns": 11.6,
    "recording and reading 400 turns": 10.6,
    "check of 100,022 events": 1.95,
    "stream of 10,000 tokens": 1.2,
    "writing a trace of 806 events, from frozen words": 7.5,
    "invoke, tools bound, call validated": 1.16,
    "counted invoke": 1.31,
    "ChatOpenAI, per invoke": 1.19,
    "agent turn under coverage": 1.13,
    "50 cases x 10 repeats of an agent of 2 turns, per run": 1.28,
    "loading 1,000 steps, recorded": 63.0,
    "first use, processor time": 66.0,
    "pytest with the plugin, unused, processor time": 13.5,
    "a test with one snapshot, warm": 4.0,
}
