"""The audit of a run's folder: what it says of itself, for people and for the forms that others ask for.

python -m fleming.audit card RUN [--pack]
"""

import argparse

from fleming.audit import card
from fleming.config import run_script

COMMANDS = {"card": card}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m fleming.audit", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=module.__doc__.split("\n\n")[0]))
    options = parser.parse_args(argv)
    return COMMANDS[options.command].run(options)


if __name__ == "__main__":
    run_script(main)
