"""Keep Ray's token from the machine's other users."""

import stat
from pathlib import Path


def keep_token_private(home: Path) -> None:
    """Take from others the right to read ~/.ray/auth_token.

    Ray writes this file under the user's umask, mostly readable by all; whoever reads it can run
    code on the cluster. Nothing happens where there is none, or where it belongs to another user.
    """
    token = home / ".ray" / "auth_token"
    try:
        token.chmod(stat.S_IRUSR | stat.S_IWUSR)
    except (FileNotFoundError, PermissionError):
        return
