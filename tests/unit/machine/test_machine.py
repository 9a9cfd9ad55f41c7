"""Whatever happens, and in whatever order: the installation stays sound, and everybody gets their turn."""

from __future__ import annotations

from support.machine.budget import IN_CI
from support.machine.rules import Machine

TestMachine = Machine.TestCase
TestMachine.settings = IN_CI
