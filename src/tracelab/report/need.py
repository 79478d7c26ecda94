"""What would decide a check that is still open."""

from tracelab.verdict import Finding, Verdict


def needs(finding: Finding) -> str:
    """Return what would decide an inconclusive finding; empty where its message says so already."""
    if finding.verdict is not Verdict.INCONCLUSIVE or finding.needed is None:
        return ""
    count = f"{finding.needed:,}"
    if count in finding.message or str(finding.needed) in finding.message:
        return ""
    return f"{count} more observations would decide it"
