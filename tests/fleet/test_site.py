"""The site folder and the command line's answers to what is wrong."""

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from edgelift_contract.assignment import Assignment
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.message_types import prepare_message_types
from edgelift_fleet.db import MIGRATIONS, Database
from edgelift_fleet.rollout.plan import StoredPlan
from edgelift_fleet.server import serve
from edgelift_fleet.site import create_site, load_site
from edgelift_fleet.tables import Base, DeviceRow, TagRow
from tests.fleet.conftest import Server, edgelift, environment

pytestmark = pytest.mark.fleet

FACTS_JSON = '{"hardware_class":"arm64-neon"}'


def test_init_makes_a_site_whose_secrets_are_secret(tmp_path: Path) -> None:
    made = edgelift("init", tmp_path / "site")
    assert made.returncode == 0, made.stderr
    secrets = list((tmp_path / "site" / "secrets").iterdir())
    assert {p.name for p in secrets} == {
        "operator-token",
        "broker-key",
        "online-key",
        "authority-key",
        "authority",
    }
    assert {stat.S_IMODE(p.stat().st_mode) for p in secrets} == {0o600}
    assert len({p.read_text() for p in secrets}) == 5
    assert load_site(tmp_path / "site").config.tls
    before = {p.name: p.read_text() for p in secrets}
    again = edgelift("init", tmp_path / "site")
    assert again.returncode == 0 and "exists already; nothing was changed" in again.stdout
    assert {p.name: p.read_text() for p in secrets} == before


def test_an_init_that_was_cut_short_is_taken_up(tmp_path: Path) -> None:
    site, _ = create_site(tmp_path / "site")
    token = site.secret("operator-token")
    (site.folder / "site.toml").unlink()
    again, new = create_site(tmp_path / "site")
    assert new and again.secret("operator-token") == token


def test_an_init_that_could_make_no_keys_says_how_the_site_gets_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    cut = edgelift("init", tmp_path / "site", env={"EDGELIFT_KEYS": str(tmp_path / "file" / "keys")})
    again = edgelift("init", tmp_path / "site")
    assert cut.returncode == 1 and again.returncode == 0
    for said in (cut.stderr, again.stdout):
        assert "edgelift keys begin" in said and "signs nothing" in said
    assert "signs nothing" not in edgelift("init", tmp_path / "site", "--unsigned").stdout


def test_a_folder_with_other_things_is_not_made_a_site(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(b"x")
    with pytest.raises(ContractError) as refused:
        create_site(tmp_path)
    assert refused.value.code == "conflict"
    assert [p.name for p in tmp_path.iterdir()] == ["photos.zip"]


@pytest.mark.parametrize(
    ("text", "error", "code"),
    [
        ("schema = 9", ContractError, "unknown-schema"),
        ("schema = ", DeviceError, "bad-config"),
        ("name = 'x'", DeviceError, "bad-config"),
        ("schema = 1\ncolour = 'red'", DeviceError, "bad-config"),
        ("schema = 1\nseen_flush_s = 0", DeviceError, "bad-config"),
    ],
)
def test_a_wrong_site_file(tmp_path: Path, text: str, error: type, code: str) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(error) as refused:
        load_site(tmp_path)
    assert refused.value.code == code


def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    db.migrate()
    db.migrate()
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    db.close()


def test_a_database_of_the_first_release_is_migrated_with_all_that_is_in_it(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with db.engine.execution_options(edgelift_write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        columns = connection.exec_driver_sql("SELECT name FROM pragma_table_info('device')").scalars()
        row = dict.fromkeys(columns, 0) | {
            "id": "pi-1",
            "enrolled_at": 5.0,
            "facts": FACTS_JSON,
            "past_epochs": "[]",
        }
        assert "reported_at" in row
        connection.execute(sa.text(f"INSERT INTO device VALUES ({', '.join(':' + n for n in row)})"), row)
        connection.exec_driver_sql("INSERT INTO device_tag VALUES ('pi-1', 'barn', '', 'device')")
    db.migrate()
    with db.read() as session:
        device = session.get_one(DeviceRow, "pi-1")
        assert (device.enrolled_at, device.hardware_class, device.timezone) == (5.0, "arm64-neon", "")
        assert session.get_one(TagRow, ("pi-1", "barn")).source == "device"
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    db.close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["devices"], "There is no site in"),
        (["publish", "."], "There is no site in"),
        (["serve"], "There is no site in"),
    ],
)
def test_without_a_site(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    result = edgelift(*arguments, "--site", tmp_path / "none")
    assert result.returncode == 1 and sentence in result.stderr and "edgelift init" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("where", ["/proc/edgelift-site", "file/site"])
def test_where_no_site_can_be_made(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("in the way")
    result = edgelift("init", where if where.startswith("/") else tmp_path / where)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "cannot be" in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_no_server_runs(idle_site: Path, tmp_path: Path) -> None:
    site, _ = create_site(tmp_path / "quiet")
    for arguments in (["devices"], ["device", "pi-1"], ["assign", "a@1", "-d", "pi-1"], ["rollout", "list"]):
        result = edgelift(*arguments, "--site", site.folder)
        assert result.returncode == 1 and "No server runs on the site" in result.stderr
        assert "edgelift serve" in result.stderr


def test_a_port_in_use(idle_site: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = edgelift("serve", "--site", idle_site, "--port", port)
        assert result.returncode == 1
        assert f"Port {port} on 127.0.0.1 is in use" in result.stderr and "--port" in result.stderr
    assert not (idle_site / "run" / "server.json").exists()


@pytest.mark.broker
def test_an_mqtt_port_in_use(idle_site: Path, mosquitto_program: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = edgelift("serve", "--site", idle_site, "--port", 0, "--mqtt-port", port)
        assert result.returncode == 1 and f"Port {port} on 127.0.0.1 is in use" in result.stderr


@pytest.mark.parametrize("broker", ["http://x", "mqtt://", "mqtt://x:99999", "rabbit"])
def test_a_broker_that_is_none(idle_site: Path, broker: str) -> None:
    result = edgelift("serve", "--site", idle_site, "--port", 0, "--broker", broker)
    assert result.returncode == 1 and "names no broker" in result.stderr


def test_a_second_server_on_a_site(idle_site: Path) -> None:
    first = Server(idle_site, "--broker", "none").start()
    try:
        second = edgelift("serve", "--site", idle_site, "--port", 0, "--broker", "none")
        assert second.returncode == 1 and "Another server runs on" in second.stderr
        assert first.info["pid"] == first.process.pid
    finally:
        assert first.stop() == 0


def test_without_mosquitto_it_says_so(idle_site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import edgelift_fleet.mqtt.messaging as messaging

    monkeypatch.setattr(messaging, "find_mosquitto", lambda: None)
    with messaging.messaging(None, "auto", host="127.0.0.1", port=0) as words:
        assert "mosquitto is not installed" in words and "HTTP long poll" in words


def test_every_message_type_of_the_server_can_be_made_ready() -> None:
    """Many devices ask at once when a server starts; msgspec does not survive two first times (`message_types`)."""
    assert callable(serve)  # imported above, and with it whatever a server decodes
    assert {Assignment, StoredPlan} <= set(prepare_message_types())


def test_an_encoding_without_arrows_ends_no_command() -> None:
    code = "from edgelift.frame import make_printable; make_printable(); print('3 µs → 2 µs')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**environment(), "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stdout) == (0, "3 ?s ? 2 ?s\n"), done.stderr
