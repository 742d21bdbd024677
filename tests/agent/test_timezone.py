"""Where a board says it stands."""

from pathlib import Path

import pytest

from edgelift_agent.system.timezone import timezone_name


@pytest.mark.parametrize(
    ("link", "file", "name"),
    [
        ("/usr/share/zoneinfo/Europe/Vienna", None, "Europe/Vienna"),
        (
            "../usr/share/zoneinfo/posix/Asia/Tokyo",
            "Europe/Vienna\n",
            "Asia/Tokyo",
        ),  # the C library goes by the link
        ("/usr/share/zoneinfo/America/Argentina/Buenos_Aires", None, "America/Argentina/Buenos_Aires"),
        (None, "Europe/Vienna\n", "Europe/Vienna"),
        ("/etc/my-rules", "Etc/UTC", "Etc/UTC"),
        (None, "../../etc/passwd", ""),
        (None, "x" * 300, ""),
        (None, "\xff\x1b[31m", ""),
        (None, None, ""),
    ],
)
def test_a_zone_by_its_name(tmp_path: Path, link: str | None, file: str | None, name: str) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    if link:
        (etc / "localtime").symlink_to(link)
    if file is not None:
        (etc / "timezone").write_bytes(file.encode("latin-1"))
    assert timezone_name(tmp_path) == name


def test_a_copy_of_the_rules_has_no_name(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "localtime").write_bytes(b"TZif2")
    assert timezone_name(tmp_path) == ""
