"""Running `decant` in this process, for tests."""

from click.testing import CliRunner, Result
from decant.commands.cli import main


def decant(*arguments: object, stdin: bytes | None = None) -> Result:
    """The result of one command; an exception that the command did not turn into a message is raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refusal(*arguments: object, stdin: bytes | None = None) -> str:
    """The one line on stderr of a command that must fail with exit code 1."""
    result = decant(*arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("decant: ")
    return result.stderr


def usage_error(*arguments: object, stdin: bytes | None = None) -> str:
    """What a command that must be refused as wrongly used says on stderr."""
    result = decant(*arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr
