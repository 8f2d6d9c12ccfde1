"""The file that holds Ray's token."""

from pathlib import Path

from cluster.token_file import keep_token_private


def test_others_may_not_read_rays_token(tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    keep_token_private(tmp_path)
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.read_text() == "secret"


def test_a_home_without_a_token_is_left_alone(tmp_path: Path) -> None:
    keep_token_private(tmp_path)
    assert list(tmp_path.iterdir()) == []
