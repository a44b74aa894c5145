"""What holds a child process: `choose` takes what this system has, `Walls` says what one child may reach."""

from orchestrator.sandbox.bubblewrap import Bubblewrap
from orchestrator.sandbox.choice import choose, prove
from orchestrator.sandbox.seatbelt import Seatbelt
from orchestrator.sandbox.walls import OPEN, Open, Ration, Sandbox, Walls

__all__ = ["OPEN", "Bubblewrap", "Open", "Ration", "Sandbox", "Seatbelt", "Walls", "choose", "prove"]
