"""Campaigns: every fault at every call of a program, every order of what runs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.campaigns.fault_runs import faults as faults
    from llmtest.campaigns.kinds import kind_names as kind_names
    from llmtest.campaigns.interleaving import Orders as Orders, orders as orders
    from llmtest.campaigns.matrix import Cell as Cell, Matrix as Matrix
    from llmtest.campaigns.invariants import broken_invariants as broken_invariants
else:
    __getattr__, __dir__ = exports(__name__)
