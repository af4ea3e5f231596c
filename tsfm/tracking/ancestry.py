"""Where models, runs and panels come from and what they went into, asked of the tracking store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import ConfigError, UserError
from tsfm.tracking.lineage import DIGEST_LENGTH, PANEL_TAG
from tsfm.tracking.reproduction import REPRODUCES_TAG, VERDICT_TAG
from tsfm.tracking.run_record import PARENT, Input, RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MOST_RUNS = 1000
DEEPEST = 12
SHORTEST_PREFIX = 8


@dataclass(frozen=True, kw_only=True)
class Node:
    """A thing, its facts, and what it comes from or went into.

    Attributes
    ----------
    kind
        ``model``, ``run``, ``panel`` or ``note``.
    role
        What it is to the node above: ``made by``, ``trained on``, ``part of`` …
    """

    kind: str
    title: str
    role: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    children: tuple[Node, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "kind": self.kind,
            "role": self.role,
            "title": self.title,
            "facts": self.facts,
            "children": [child.to_dict() for child in self.children],
        }

    def walk(self) -> Iterator[Node]:
        """This node and all beneath it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, kw_only=True)
class Ancestry:
    """Questions to one tracking store."""

    client: MlflowClient

    def of_model(self, model: str, *, role: str = "", depth: int = 0) -> Node:
        """What a model comes from: its run, that run's data and code, its base model's likewise.

        Parameters
        ----------
        model
            A registered model's name (its champion, or latest version), ``models:/…``, a directory,
            a hub id or a name.

        Raises
        ------
        TrackingError, CheckpointError
            When there is no such model.
        """
        from tsfm.tracking.chosen_model import choose

        chosen = choose(model)
        facts, children = _registry_facts(self.client, chosen.uri), []
        if chosen.notice:
            facts["notice"] = chosen.notice
        if chosen.directory is not None:
            facts["files"] = str(chosen.directory)
        if chosen.model_id is not None:
            facts["logged model"] = chosen.model_id
            logged = self.client.get_logged_model(chosen.model_id)
            children.append(self.of_run(str(logged.source_run_id), role="made by", depth=depth + 1))
            if depth == 0:
                children += self.used_by(chosen.model_id)
        provenance = chosen.provenance()
        if chosen.model_id is None:
            told = "trained on what its provenance.json names" if provenance else "origin unknown"
            children.append(Node(kind="note", title=told))
        return Node(
            kind="model", title=chosen.uri, role=role, facts=facts, children=tuple(children)
        )

    def of_run(self, run_id: str, *, role: str = "", depth: int = 0) -> Node:
        """What a run comes from: code, config, panels, the run that it is a part of, base models.

        Raises
        ------
        TrackingError
            When there is no such run; only of the run asked for: one further up becomes a note.
        """
        try:
            record = RunRecord.read(self.client, run_id)
        except UserError:
            if depth == 0:
                raise
            return Node(kind="note", role=role, title=f"run {run_id} is gone")
        children = [_panel_node(one) for one in record.inputs]
        if record.parent and depth < DEEPEST:
            children.append(self.of_run(record.parent, role="part of", depth=depth + 1))
        for name, base in _bases(record):
            children.append(self._base(name, base, depth))
        if depth == 0:
            children += self.made_of(record)
        return Node(
            kind="run",
            role=role,
            title=f"{record.entry_point or 'run'} {record.name}  {run_id}",
            facts=_run_facts(record),
            children=tuple(children),
        )

    def of_panel(self, panel: str) -> Node:
        """Which runs saw a panel, whole or in part.

        Parameters
        ----------
        panel
            Its directory, or a fingerprint (of it, or of a part as the MLflow UI shows it), or the
            first 8 characters of one.

        Raises
        ------
        ConfigError
            When it is neither.
        """
        from tsfm.data.panel import Panel
        from tsfm.data.panel_state import STATE_FILE

        path = Path(panel).expanduser()
        facts = {}
        if (path / STATE_FILE).exists():
            opened = Panel.open(path)
            digest, title = opened.fingerprint, f"{opened.info.name}  {opened.fingerprint}"
            facts = {"path": str(path.resolve()), "series": f"{len(opened):,}"}
        elif re.fullmatch(rf"[0-9a-f]{{{SHORTEST_PREFIX},}}", panel):
            digest, title = panel, panel
        else:
            raise ConfigError(
                f"panel={panel!r} is neither a panel's directory nor a fingerprint",
                remedy="give the directory, or at least 8 hexadecimal digits of the fingerprint "
                "that the run's datasets show in the MLflow UI",
            )
        found = self._seeing(digest[:DIGEST_LENGTH])
        children = [self._use(run, digest[:DIGEST_LENGTH]) for run in found]
        if not children:
            children = [Node(kind="note", title="no run of this store saw it")]
        return Node(kind="panel", title=title, facts=facts, children=tuple(children))

    def made_of(self, record: RunRecord) -> list[Node]:
        """What came of a run: its models with their versions, its reproductions."""
        made = [
            Node(kind="model", role="made", title=", ".join(_versions(self.client, model_id)))
            for model_id in record.models
        ]
        again = self._search(f"tags.`{REPRODUCES_TAG}` = '{record.run_id}'")
        for run in again:
            verdict = run.data.tags.get(VERDICT_TAG, "unfinished")
            title = f"{run.info.run_name}  {run.info.run_id}: {verdict}"
            made.append(Node(kind="run", role="reproduced by", title=title))
        return made

    def used_by(self, model_id: str) -> list[Node]:
        """The runs that forecast with a logged model."""
        return [
            Node(kind="run", role="used by", title=_run_title(run))
            for run in self._search(f"tags.`tsfm.model_id` = '{model_id}'")
        ]

    def _base(self, name: str, base: str, depth: int) -> Node:
        if depth >= DEEPEST:
            return Node(kind="note", role=name, title=f"{base} (not followed further)")
        try:
            return self.of_model(base, role=name, depth=depth + 1)
        except UserError as error:
            return Node(kind="note", role=name, title=f"{base}: {error.what}")

    def _seeing(self, digest: str) -> list[Run]:
        """Runs with this panel or a view of it, the latest first."""
        is_prefix = len(digest) < DIGEST_LENGTH
        comparison = f"LIKE '{digest}%'" if is_prefix else f"= '{digest}'"
        runs = {run.info.run_id: run for run in self._search(f"dataset.digest {comparison}")}
        if not is_prefix:
            wholes = self._search(f"tags.`{PANEL_TAG}{digest}` LIKE '%'")
            runs |= {run.info.run_id: run for run in wholes}
        return sorted(runs.values(), key=lambda run: -run.info.start_time)

    def _use(self, run: Run, digest: str) -> Node:
        record = RunRecord(client=self.client, run=run)
        whole = [one for one in record.inputs if one.digest.startswith(digest)]
        name = record.tags.get(f"{PANEL_TAG}{digest}", "").partition(" ")[0]
        views = whole or [one for one in record.inputs if one.name == name]
        facts = {"seen": ", ".join(_seen(one, is_part=not whole) for one in views)}
        models = [", ".join(_versions(self.client, model_id)) for model_id in record.models]
        children = [Node(kind="model", role="made", title=title) for title in models]
        return Node(kind="run", title=_run_title(run), facts=facts, children=tuple(children))

    def _search(self, condition: str) -> list[Run]:
        experiments = [one.experiment_id for one in self.client.search_experiments()]
        runs: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                experiments, condition, max_results=MOST_RUNS, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs


def _bases(record: RunRecord) -> Iterator[tuple[str, str]]:
    """What the run's config says that it started from."""
    params = record.run.data.params
    for key, role in (("config.base_model", "started from"), ("config.base", "compared with")):
        for base in filter(None, (word.strip() for word in params.get(key, "").split(","))):
            if base != "scratch":
                yield role, base
    model = record.tags.get("tsfm.model")
    if model:
        yield "forecast with", model


def _registry_facts(client: MlflowClient, uri: str) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    name, _, version = uri.removeprefix("models:/").partition("/")
    if not (uri.startswith("models:/") and version.isdigit()):
        return {}
    try:
        found = client.get_model_version(name, version)
        aliases = client.get_registered_model(name).aliases
    except MlflowException:
        return {}
    held = [alias for alias, number in aliases.items() if str(number) == version]
    return {
        "aliases": ", ".join(held) or "none",
        "registered": _when(found.creation_timestamp),
        "leakage": str(found.tags.get("leakage", "unknown")),
    }


def _run_facts(record: RunRecord) -> dict[str, str]:
    code, info = record.code, record.run.info
    commit = code.get("commit")
    dirty = " with uncommitted changes (environment/uncommitted.patch)" if record.is_dirty else ""
    machine = record.environment.get("machine", {})
    seeds = record.environment.get("seeds", {})
    facts = {
        "when": f"{_when(info.start_time)}, {info.status}",
        "code": f"commit {commit}{dirty}"
        if commit
        else f"sources {code.get('sources', 'unknown')}",
        "config": "config.yaml among its artifacts",
        "seed": ", ".join(f"{key}={value}" for key, value in seeds.items()),
        "machine": ", ".join(
            f"{key} {machine[key]}"
            for key in ("host", "processor", "python", "cpus")
            if key in machine
        ),
        "command": " ".join(record.command[1:]),
        "again": f"mlflow run . -e reproduce -P run_id={record.run_id}",
    }
    if record.parent:
        facts["again"] = f"mlflow run . -e reproduce -P run_id={record.parent}"
    if REPRODUCES_TAG in record.tags:
        facts["reproduces"] = record.tags[REPRODUCES_TAG]
    return {key: value for key, value in facts.items() if value}


def _panel_node(one: Input) -> Node:
    profile = one.profile
    facts = {
        "holds": f"{profile.get('series', '?')} series, {profile.get('bars', '?')} bars",
        "dates": f"{profile.get('first')} to {profile.get('last')}" if profile.get("first") else "",
        "from": one.source,
        "licence": str(profile.get("licence") or ""),
    }
    kept = {key: value for key, value in facts.items() if value}
    return Node(kind="panel", role=one.role, title=f"{one.name}  {one.digest}", facts=kept)


def _seen(one: Input, *, is_part: bool) -> str:
    series = one.profile.get("series", "?")
    dates = " to ".join(str(one.profile[k])[:10] for k in ("first", "last") if one.profile.get(k))
    return f"{one.role}: {'a part, ' if is_part else ''}{series} series {dates}".strip()


def _versions(client: MlflowClient, model_id: str) -> list[str]:
    """The registered versions of a logged model, or its own address."""
    from mlflow.exceptions import MlflowException

    from tsfm.tracking.chosen_model import versions_of

    try:
        return versions_of(client, model_id) or [f"models:/{model_id}"]
    except MlflowException:
        return [f"models:/{model_id} (gone)"]


def _run_title(run: Run) -> str:
    entry = run.data.tags.get("tsfm.entry_point", "run")
    part = " (a part)" if PARENT in run.data.tags else ""
    when = _when(run.info.start_time)
    return f"{entry} {run.info.run_name}  {run.info.run_id}{part}  {when}, {run.info.status}"


def _when(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "unknown"
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"
