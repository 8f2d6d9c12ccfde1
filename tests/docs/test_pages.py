"""README and docs/: generated pages are current, links lead somewhere, commands parse."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fastapi.routing import APIRoute

from cluster.main import parser
from serve.api import router
from serve.audit import audit_router
from serve.catalog import Catalog
from sweeps.rows import reference as of_rows
from sweeps.rows.columns import COLUMNS
from sweeps.rows.schema import ROWS
from sweeps.spec import keys
from sweeps.spec import reference as of_specs
from sweeps.spec.files import read_spec, shipped
from sweeps.spec.parse import KEYS, parse
from unlearn import docstrings
from unlearn.attacks import attacks_on
from unlearn.gallery import Gallery

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = {"spec.md": of_specs, "columns.md": of_rows}


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def code_lines(page: Path) -> Iterator[str]:
    """The lines of a page's code blocks, continued ones joined."""
    for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        yield from block.replace("\\\n", " ").splitlines()


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> list[str]:
    """Every `amnesia ...` line of a page's code blocks that is a real command."""
    found = []
    for page in PAGES:
        for line in code_lines(page):
            command = " ".join(line.partition("#")[0].split())
            if command.startswith("amnesia ") and "[--" not in command:
                found.append(command)
    return sorted(set(found))


def synopses() -> list[str]:
    """README's lines that show a command with its options."""
    return [line for line in code_lines(ROOT / "README.md") if line.startswith("amnesia ")]


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_current(name: str) -> None:
    made = GENERATED[name]

    assert text_of(f"docs/{name}") == made.document(), (
        f"docs/{name} is out of date: python -m {made.__name__} > docs/{name}"
    )


def test_every_key_of_a_spec_has_a_meaning() -> None:
    unsaid = rf"^\| `(\w+)` \|.*\| {docstrings.UNSAID} \|$"

    assert re.findall(unsaid, text_of("docs/spec.md"), re.MULTILINE) == []


def test_every_option_of_a_model_has_a_meaning() -> None:
    assert docstrings.UNSAID not in of_specs.models_table()


def test_the_top_level_table_has_every_key() -> None:
    assert [key.name for key in of_specs.TOP] == list(KEYS)


def test_columns_md_names_every_column_of_a_row() -> None:
    page = text_of("docs/columns.md")
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    patterns = re.findall(r"^\| `(\w*<attack>\w+)` \|", page, re.MULTILINE)
    for attack in re.findall(r"`(\w+)`", page.partition("`<attack>` is one of")[2].split(".")[0]):
        named |= {pattern.replace("<attack>", attack) for pattern in patterns}
    beside = set(re.findall(r"^\| `(\w+)` \|.*\| ✓ \|", page, re.MULTILINE))
    named |= {f"{of}_{column}" for of in ("original", "oracle") for column in beside}

    assert named == set(ROWS.names)


@pytest.mark.parametrize("name", attacks_on("generator"))
def test_columns_md_says_what_an_attack_on_a_generator_reports(name: str) -> None:
    attack = attacks_on("generator")[name]

    assert {*attack.model_columns, *attack.subject_columns} == attack.meanings.keys()


def test_every_column_has_a_meaning_and_a_source() -> None:
    silent = [name for name, entry in COLUMNS.items() if entry.meaning == docstrings.UNSAID]

    assert silent == []
    assert [name for name, entry in COLUMNS.items() if not entry.source] == []


def test_a_score_means_what_its_twin_or_its_pattern_means() -> None:
    told = {"forget_accuracy": "share of images", "judge_*": "one entry per judge"}

    assert docstrings.meaning_of("forget_accuracy", told) == "share of images"
    assert (
        docstrings.meaning_of("val_forget_accuracy", told) == "`forget_accuracy` on validation data"
    )
    assert docstrings.meaning_of("judge_entropy", told) == "one entry per judge"
    assert docstrings.meaning_of("retain_accuracy", told) == docstrings.UNSAID


def test_a_docstring_tells_meanings_line_by_line_and_within_a_line() -> None:
    text = """Do it.

    lr: peak learning rate, above 0
    norms: `running`, or `batch`:
        then each batch's own
    one, `two`: together; three: apart. judge_*: each.

    Not a meaning: the rest.
    """
    names = {"lr", "norms", "one", "two", "three", "four"}

    assert docstrings.lines_of(text, names) == {
        "lr": "peak learning rate, above 0",
        "norms": "`running`, or `batch`: then each batch's own",
        "one": "together",
        "two": "together",
        "three": "apart",
        "judge_*": "each",
    }
    assert docstrings.prose_of(text, names) == "Do it.\n\nNot a meaning: the rest."


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ("lr must be above 0, not -1", "above 0"),
        ("train.ema must lie in [0, 1), not 2.0", "in [0, 1)"),
        ("unknown norms '?'; known: running, batch", "running, batch"),
        ("gpu above 1 must be a whole number, not 1.5; Ray", "above 1 must be a whole number"),
    ],
)  # fmt: skip
def test_a_range_is_what_a_refusal_says(message: str, rule: str) -> None:
    name = message.split()[0].rpartition(".")[2]

    assert keys.rule_in(message, name) == rule


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1.0e-4"), (3.5e-5, "3.5e-5"), (0.002, "0.002"), (0.0, "0"), (1e6, "1.0e+6"),
     (2.0, "2"), (True, "true"), ("none", "none"), ([1, 2], "[1, 2]")],
)  # fmt: skip
def test_a_value_stands_as_yaml_reads_it(value: object, text: str) -> None:
    assert keys.as_yaml(value) == text
    assert yaml.safe_load(text) == value


def test_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 160


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_line_has_at_most_100_columns(page: Path) -> None:
    if page.name in GENERATED:
        pytest.skip("tables only")
    long = [line for line in page.read_text().splitlines() if len(line) > 100]

    assert [line for line in long if not line.startswith("|")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.is_file(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("command", commands())
def test_a_command_parses(command: str) -> None:
    words = shlex.split(command.partition(" >")[0])

    args = parser().parse_args(words[1:])

    spec = getattr(args, "spec", None)
    if spec in shipped():
        assert read_spec(spec, args.set)
    elif spec is not None:
        assert spec.endswith(".yaml") or spec == "SPEC", f"no shipped spec {spec}"


@pytest.mark.parametrize("line", synopses())
def test_every_option_that_readme_names_exists(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = line.split()[1]
    with pytest.raises(SystemExit):
        parser().parse_args([name, "--help"])

    options = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    assert set(re.findall(r"--[\w-]+", line.partition("#")[0])) <= options


def test_readme_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])

    known = set(re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE))
    named = set(re.findall(r"amnesia (\w+)", text_of("README.md")))
    assert known - named == {"logs", "stop"}  # of which README says `status|logs|stop`


def test_readmes_spec_is_a_spec() -> None:
    block = re.search(r"```yaml\n(.*?)```", text_of("README.md"), re.DOTALL)
    assert block is not None

    sweep = parse(yaml.safe_load(block[1]))

    assert (sweep.name, len(sweep.forget), sweep.seeds) == ("my-sweep", 10, (0, 1, 2))


def test_every_route_is_described() -> None:
    served = {
        (method, route.path)
        for route in (*router.routes, *audit_router(Catalog(Gallery("gallery"))).routes)
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    served |= {("GET", "/openapi.json")}
    page = text_of("docs/serving.md")
    rows = re.findall(r"^\| ((?:`(?:GET|POST) [^`]+`(?:, )?)+) \|", page, re.MULTILINE)
    described = {tuple(route.split()) for row in rows for route in re.findall(r"`([^`]+)`", row)}

    assert described == served


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.MULTILINE))
    targets |= {
        f"reproduce-{name}" for name in re.findall(r"^reproduce-(\w+):", text_of("Makefile"))
    }
    for page in PAGES:
        for name in re.findall(r"(?:^|`)make ([\w-]+)(?=[`\s])", page.read_text(), re.MULTILINE):
            assert name in targets, (page.name, name)
