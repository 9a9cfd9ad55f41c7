"""The ``gpuspawner`` command. A subcommand is imported when it is called, so that none waits for another."""

from __future__ import annotations

from importlib import import_module

import click

from .core.errors import GpuSpawnerError

COMMANDS = {
    "agent": ("gpuspawner.agent.command:agent", "Keep this GPU host: inventory, reconcile, release."),
    "assign": ("gpuspawner.shell.cards:assign", "Keep a card for somebody."),
    "calendar": (
        "gpuspawner.shell.calendars:calendar",
        "See and end the secret addresses of people's calendars.",
    ),
    "clear": ("gpuspawner.shell.cards:clear", "Clear a card's standing fault."),
    "controller": (
        "gpuspawner.controller.command:controller",
        "Keep the line, and serve /services/gpu.",
    ),
    "course": ("gpuspawner.shell.course:course", "Show links to a course's notebooks."),
    "cull": ("gpuspawner.shell.cull:cull", "Show what would be done about idle sessions."),
    "demo": ("gpuspawner.demo.command:demo", "Serve the demo on this machine."),
    "doctor": ("gpuspawner.doctor.command:doctor", "Check this host, and say how to fix what is wrong."),
    "drain": ("gpuspawner.shell.cards:drain", "Take a card out of use."),
    "drift": ("gpuspawner.shell.drift:drift", "Say what changes from one image to another."),
    "history": ("gpuspawner.shell.cull:history", "Show how somebody's sessions ended, and why."),
    "key": ("gpuspawner.shell.key:key", "Show, add and remove people's keys for SSH."),
    "lease": ("gpuspawner.shell.lease:lease", "Show sessions; extend, message and stop them."),
    "passport": ("gpuspawner.shell.promote:passport", "Show what is in the images, and what they need."),
    "people": ("gpuspawner.shell.people:people", "Show who has logged in; invite and remove people."),
    "policy": ("gpuspawner.shell.policy:policy", "Check the policy, and explain what somebody may use."),
    "queue": ("gpuspawner.shell.queue:queue", "Show the line; take somebody out of it."),
    "reserve": ("gpuspawner.shell.reserve:reserve", "Reserve GPUs for a person, a group or a course."),
    "roster": ("gpuspawner.shell.roster:roster", "Show and change who is in a course."),
    "sim": ("gpuspawner.sim.cli:sim", "Simulated GPUs, for evaluation and tests."),
    "simulate": ("gpuspawner.simulate.command:simulate", "Compare rules for idle GPUs on a trace."),
    "ssh-gateway": ("gpuspawner.gateway.command:ssh_gateway", "Let people into their servers by SSH."),
    "status": ("gpuspawner.shell.status:status", "Show cards and who holds them."),
    "timetable": ("gpuspawner.shell.timetable:timetable", "Reserve GPUs for the lessons of a course."),
    "usage": ("gpuspawner.shell.usage:usage", "Show who held how many GPU-hours, and what for."),
    "verify": ("gpuspawner.shell.verify:verify", "Check that an image computes the same again."),
    "undrain": ("gpuspawner.shell.cards:undrain", "Give a drained card back into use."),
}
"""Where each subcommand is, as ``module:attribute``, and its line in the help, which imports none of them."""


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> object:
        """Run; what we raise on purpose is one line on stderr and exit code 1."""
        try:
            return super().invoke(ctx)
        except GpuSpawnerError as error:
            raise click.ClickException(_harmless(str(error))) from error


def _harmless(text: str) -> str:
    """What a file or a person named cannot move the cursor."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gpuspawner")
def main() -> None:
    """GPUs of a shared server, for JupyterHub."""
