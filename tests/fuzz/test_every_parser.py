"""Nothing decodes what others made without standing in the table of what is fuzzed, or below with a reason."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import device, host

pytestmark = pytest.mark.fleet

ROOT = Path(__file__).parents[2]
PACKAGES = (
    ("agent", "edgelift_agent"), ("agent", "edgelift_contract"), ("builder", "edgelift_fleet"), ("builder", "edgelift"),
    ("builder", "edgelift_builder"),
)  # fmt: skip

#: A call that turns bytes or text into objects.
DECODES = re.compile(
    r"(codec\.)?(decode_json|decode_clean|decode_msgpack|recoded)|(msgspec\.)?(json|msgpack|toml|yaml)\.(decode|Decoder)|decode"
    r"|(json|orjson|tomllib|tomli|pickle|marshal|yaml)\.loads?|Metadata(\[\w+\])?\.from_bytes"
    r"|(x509\.)?load_(pem|der)_\w+|zlib\.decompress(obj)?|gzip\.(decompress|open)|tarfile\.open|zipfile\.ZipFile"
    r"|struct\.unpack(_from)?"
)

_OWN = "its own, which only root can change; damage: tests/agent/test_damaged_store.py, test_state_database.py"
_ROWS = "a row that this program stored; damage: tests/fleet/test_quarantine.py"
_USER = "what a user builds from, on a machine of the user's, fed by no device and no host: tests/builder/test_bad_input.py"
_HELD = "bytes whose signature or digest has been verified"
#: Module, or `module:function` → why it needs no fuzzing here.
REASONS = {
    "edgelift_agent.testing": "for tests",
    "edgelift_fleet.testing": "for tests",
    "edgelift_fleet.simulate": "boards of a simulation: what answers them is the server under test",
    "edgelift_fleet.migrations": _ROWS,
    "edgelift_fleet.alerts.sender:Sender.send_one": _ROWS,
    "edgelift_agent.update": _OWN,
    "edgelift_agent.telemetry.outbox": _OWN,
    "edgelift_agent.trust.trusted": _OWN,
    "edgelift_agent.trust.shown": "roots out of its own trust file",
    "edgelift_agent.identity.keys": _OWN,
    "edgelift_agent.artifact.preflight": "the last line of a child that it started",
    "edgelift_agent.system.sockets": "the kernel's answer about a socket's other end",
    "edgelift_agent.admin.asking": "the running agent's answer, over a socket in its state folder",
    "edgelift_agent.admin.server": "root or the agent's user, over a Unix socket; bounded: tests/agent/test_admin.py",
    "edgelift_agent.link.http:HttpTransport.send_report": "what it sends itself",
    "edgelift_agent.link.http:HttpTransport.send_batch": "what it sends itself",
    "edgelift_agent.link.link:Link._on_assignment_of": "`codec.recoded`, in the row `assignment`",
    "edgelift_agent.parts.importing": "`codec.recoded`, in the row `assignment`",
    "edgelift_contract.codec:_malformed": "called by `decode_json` for what it refused",
    "edgelift_contract.codec:decode_msgpack": "in the row `goldens`",
    "edgelift_contract.message_types": "makes decoders, reads nothing",
    "edgelift_fleet.rows": _ROWS,
    "edgelift_fleet.cohorts": _ROWS,
    "edgelift_fleet.telemetry": _ROWS,
    "edgelift_fleet.mending": _ROWS,
    "edgelift_fleet.identity.tokens": _ROWS,
    "edgelift_fleet.identity.metrics_authority": "a certificate that this process made a moment before",
    "edgelift_fleet.keeping": "an operator's own backup; damage: tests/fleet/test_restore_faults.py",
    "edgelift_fleet.server_file": "the site's own file, written by its server",
    "edgelift_fleet.scrub": "the site's own file, written by its server",
    "edgelift_fleet.api.guard:read_peer": "a certificate that TLS has verified: the site's authority made it",
    "edgelift_fleet.console.inner:read": "what the API of this very process answered",
    "edgelift_fleet.trust.sealing": "what this process signed a moment before",
    "edgelift_fleet.trust.handing": _HELD,
    "edgelift_fleet.trust.online": _HELD,
    "edgelift_fleet.trust.expiring": _HELD,
    "edgelift_fleet.trust.shape": "custom of targets, in `Image.load`'s metadata once its signature held",
    "edgelift_builder.cache": "its own, in the user's folder; damage: tests/builder/test_cache.py",
    "edgelift_builder.known_bad": "shipped with it",
    "edgelift_builder.convert": _USER,
    "edgelift_builder.data": "samples that it stored itself, in the folder of this build",
    "edgelift_builder.measure": "the other end of a pipe to a child that it started",
    "edgelift_builder.optimise.tflite_plan": "what its converter wrote a moment before",
    "edgelift_builder.recipe": _USER,
    "edgelift_builder.source": _USER,
    "edgelift_builder.targets": _USER,
    "edgelift_fleet.alerts.undelivered": "a row that this site's server wrote",
    "edgelift_fleet.untold": "a row that this site's server wrote",
    "edgelift.boards.bundle": "written here, never read",
    "edgelift.boards.onboard.service": "of the agent that root installed: it is no more than no answer",
    "edgelift.boards.onboard.trial": "root's own file; damage: tests/boards/test_onboard.py",
    "edgelift.boards.onboard.unpacked": "a bundle that root unpacked and runs; damage: tests/boards/test_onboard.py",
    "edgelift.logins": "a person's own file, which nobody else may write",
    "edgelift.telemetry_export": "lines of its own server's answer, one at a time",
}  # fmt: skip


def decoding() -> Iterator[tuple[str, str]]:
    """`module`, `function` (with its class) of each call that decodes."""
    for folder, package in PACKAGES:
        for path in sorted((ROOT / folder / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts).removesuffix(".__init__")
            yield from ((module, name) for name in _in(ast.parse(path.read_text()), ""))


def _in(node: ast.AST, where: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        name = (
            getattr(child, "name", "")
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            else ""
        )
        inner = ".".join(part for part in (where, name) if part)
        if isinstance(child, ast.Call) and DECODES.fullmatch(ast.unparse(child.func)):
            yield where
        yield from _in(child, inner)


def reason(module: str, function: str) -> str:
    """Why it needs none: its own, or that of a package that it is in; empty for none."""
    parts = module.split(".")
    names = [f"{module}:{function}", *(".".join(parts[:n]) for n in range(len(parts), 0, -1))]
    return next((REASONS[name] for name in names if name in REASONS), "")


FUZZED = {name for parser in (*device.PARSERS, *host.PARSERS) for name in parser.covers}
FOUND = set(decoding())


def test_every_parser_is_fuzzed_or_has_a_reason() -> None:
    left = sorted(f"{m}:{f}" for m, f in FOUND if f"{m}:{f}" not in FUZZED and not reason(m, f))
    assert not left, left
    assert len(FOUND) > 70


def test_a_build_s_report_is_written_and_never_read_again() -> None:
    """No parser of report pages is fuzzed, as there is none: hostile text in them is tests/builder/test_report_page.py's."""
    files = {"REPORT_FILE", "PAGE_FILE", "report.json", "report.html"}
    named = set()
    for folder, package in PACKAGES:
        for path in (ROOT / folder / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                said = {getattr(node, name, None) for name in ("id", "attr", "name")}
                said |= {node.value} if isinstance(node, ast.Constant) else set()
                if said & files:
                    named.add(path.name)
    assert named == {"release.py", "describe.py", "page.py", "build.py"}, "who reads a report stands in the table"


def test_what_the_table_and_the_reasons_name_is_there() -> None:
    functions = {f"{module}:{function}" for module, function in FOUND}
    assert not FUZZED - functions, "names in `covers` that decode nothing"
    used = {
        name
        for module, function in FOUND
        for name in REASONS
        if name in (f"{module}:{function}", module) or module.startswith(f"{name}.")
    }
    assert set(REASONS) == used
    assert not [name for name in FUZZED if name in REASONS]


@pytest.mark.parametrize(
    ("code", "decodes"),
    [
        ("msgspec.json.decode(x)", True), ("codec.decode_json(x, K)", True), ("data.decode()", False),
        ("orjson.loads(x)", True),
        ("tomllib.loads(x)", True), ("x509.load_pem_x509_csr(x)", True), ("pickle.load(f)", True), ("json.dumps(x)", False),
        ("decode_body(x)", False), ("zlib.decompressobj(31)", True), ("msgspec.msgpack.Decoder(K)", True),
        ("decode(data)", True), ("_decoder.decode(x)", False),
    ],
)  # fmt: skip
def test_a_parser_is_known_when_it_is_seen(code: str, decodes: bool) -> None:
    call = ast.parse(code).body[0]
    assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
    assert bool(DECODES.fullmatch(ast.unparse(call.value.func))) is decodes
