"""A Run on a collector that cannot write our folders: copied as it grows, whole at the end."""

import urllib.error
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracelab.errors import InfrastructureError
from tracelab.experiment.collecting import CollectorClient
from tracelab.experiment.mirror import Mirror
from tracelab.store.reader import open_spans
from tracelab.testing.collector import CollectorProcess


def send(collector: CollectorProcess, number: int) -> None:
    """Send one span."""
    import urllib.request

    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id = number.to_bytes(16, "big"), number.to_bytes(8, "big")
    span.name, span.start_time_unix_nano, span.end_time_unix_nano = f"span {number}", 1, 2
    asked = urllib.request.Request(
        f"{collector.url}/v1/traces", request.SerializeToString(), {"Content-Type": "application/x-protobuf"}
    )
    urllib.request.urlopen(asked, timeout=10).close()


def names(folder: Path) -> list[str]:
    """Return the names of all spans of a folder."""
    return [span.name for span in open_spans(folder / "spans").spans()]


def test_a_run_is_copied_as_it_grows(tmp_path: Path) -> None:
    """Each copy has what was written until then; a collector that was killed goes on where it was."""
    ours = tmp_path / "run"
    with CollectorProcess(tmp_path / "theirs", life="one") as collector:
        client = CollectorClient(collector.url)
        client.record("run-1")
        mirror = Mirror(client, "runs/run-1", ours)
        send(collector, 1)
        mirror.copy()
        assert names(ours) == ["span 1"]
        send(collector, 2)
        collector.kill()
        with pytest.raises(InfrastructureError, match="did not answer files"):
            Mirror(CollectorClient("http://127.0.0.1:1"), "runs/run-1", ours).copy()
        assert names(ours) == ["span 1"]
        collector.start()
        send(collector, 3)
        mirror.copy()
        assert names(ours) == ["span 1", "span 2", "span 3"]
        for path in sorted((ours / "spans").glob("*.segment")):
            assert path.read_bytes() == (tmp_path / "theirs/runs/run-1/spans" / path.name).read_bytes()
        client.record("run-2")
        assert [path.name for path in (tmp_path / "theirs/runs").iterdir()] == ["run-2"]


def test_idle_traffic_is_pruned_with_its_source(tmp_path: Path) -> None:
    """A file that the collector dropped goes from the copy too."""
    ours = tmp_path / "traffic"
    with CollectorProcess(tmp_path / "theirs", life="one") as collector:
        send(collector, 1)
        (ours / "spans").mkdir(parents=True)
        (ours / "spans" / "00-0.segment").write_bytes(b"dropped there")
        Mirror(CollectorClient(collector.url), "traffic", ours, is_pruned=True).copy()
        assert names(ours) == ["span 1"]
        assert not (ours / "spans" / "00-0.segment").exists()


@pytest.mark.parametrize(
    "path",
    ["collector.json", "../secret", "runs/../collector.json", "/etc/passwd", "traffic/../../secret", "runs/none"],
)
def test_only_what_was_recorded_is_read(tmp_path: Path, path: str) -> None:
    """Nothing outside of the collector's own recordings can be asked for."""
    (tmp_path / "secret").write_text("secret")
    with CollectorProcess(tmp_path / "theirs", life="one") as collector:
        with pytest.raises(urllib.error.HTTPError, match="400") as refused:
            collector.get(f"/tracelab/v1/file?path={path}")
        refused.value.close()
        with pytest.raises(InfrastructureError):
            CollectorClient(collector.url).record("../elsewhere")
