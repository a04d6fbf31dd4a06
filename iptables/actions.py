"""What `remora init` can be asked to do, each as one function that returns its report."""

from collections.abc import Sequence
from dataclasses import replace

from iptables import backends, delivery, namespace, restore, rules
from iptables.backends import Backend
from iptables.exits import Exit, InitError
from iptables.held import Held
from iptables.report import Report, Row, redirection
from iptables.restore import Step
from iptables.spec import Family, Spec
from iptables.tools import ToolError


def apply(spec: Spec, *, dry_run: bool) -> Report:
    """Redirect. Nothing changes if everything is as asked for already."""
    families = namespace.families(spec)
    found = backends.discover()
    notes = _advice(spec)
    if dry_run:
        found, unread = _as_if_readable(found)
        notes += unread
    chosen, reason = backends.choose(found, spec.backend, families)
    steps = restore.plan(chosen, found, {family: rules.build(spec, family) for family in families})
    report = Report("dry run", backend=chosen.name, reason=reason, notes=notes)
    if Family.IPV6 not in families:
        why = "left out by --families" if spec.families else "this network namespace has no IPv6"
        report.rows.append(Row("ipv6", "skipped", why))
    if dry_run:
        return _dry(report, steps, add_address=Family.IPV6 in families)
    added = Family.IPV6 in families and delivery.ensure()
    try:
        report.notes += restore.carry_out(steps)
    except InitError:
        if added:
            delivery.withdraw()
        raise
    report.result = "applied" if steps or added else "unchanged"
    report.rows += _places(chosen, steps)
    if Family.IPV6 in families:
        report.rows.append(Row(delivery.WORDS, "added" if added else "unchanged"))
    report.rows += redirection(spec, families)
    return report


def cleanup(*, dry_run: bool) -> Report:
    """Take out everything that init has ever put into this namespace, by whichever backend.

    A table nat that init made goes too, where nft is there to delete it. An empty legacy one
    stays: the kernel keeps it until the namespace ends.
    """
    found = backends.discover()
    unread = [error for backend in found for error in backend.errors]
    had_rules = any(backend.has_ours for backend in found)
    if unread and not had_rules and not any(backend.readable for backend in found):
        raise InitError(Exit.NOT_APPLIED, f"the rules cannot be read: {unread[0]}")
    steps = restore.removal(found)
    ours = delivery.is_ours(had_rules=had_rules)
    report = Report("dry run", notes=[f"not looked at: {error}" for error in unread])
    if dry_run:
        return _dry(report, steps, remove_address=bool(ours))
    report.notes += restore.carry_out(steps)
    report.rows += [_row(step) for step in steps]
    if ours:
        delivery.withdraw()
        report.rows.append(Row(delivery.WORDS, "removed"))
    elif ours is not None:
        report.rows.append(Row(delivery.WORDS, "kept", "remora has not added it"))
    report.result = "removed" if steps or ours else "nothing to remove"
    return report


def _dry(
    report: Report,
    steps: Sequence[Step],
    *,
    add_address: bool = False,
    remove_address: bool = False,
) -> Report:
    """Give what would be done, in its order."""
    commands = [str(command) for step in steps for command in step.commands]
    words = f"{delivery.ADDRESS}/128 dev lo"
    if add_address and delivery.is_ours(had_rules=False) is None:
        commands.insert(0, f"# by netlink: ip -6 address add {words} nodad\n")
    if remove_address:
        commands.append(f"# by netlink: ip -6 address del {words}\n")
    report.commands = commands
    if not commands:
        report.notes.append("nothing would change")
    return report


def _as_if_readable(found: Sequence[Backend]) -> tuple[list[Backend], list[str]]:
    """Take what cannot be read for empty, so that a dry run works without rights."""
    notes = [f"taken for empty: {error}" for backend in found for error in backend.errors]
    readable = [
        replace(
            backend,
            held=tuple(
                (store, Held() if isinstance(held, ToolError) else held)
                for store, held in backend.held
            ),
        )
        for backend in found
    ]
    return readable, notes


def _places(chosen: Backend, steps: Sequence[Step]) -> list[Row]:
    changed = {step.store.name for step in steps}
    same = [
        Row(store.name, "unchanged", f"{held.rule_count} rules")
        for store, held in chosen.readable
        if held and store.name not in changed
    ]
    return [*same, *map(_row, steps)]


def _row(step: Step) -> Row:
    if not step.after:
        return Row(step.store.name, "removed", f"{step.before.rule_count} rules")
    state = "replaced" if step.before else "added"
    return Row(step.store.name, state, f"{step.after.rule_count} rules, read back and equal")


def _advice(spec: Spec) -> list[str]:
    notes = []
    if 0 in spec.uids:
        notes.append("whatever runs as root passes the proxy by: 0 is among --proxy-uid")
    if 0 in spec.gids:
        notes.append("whatever runs as group 0 passes the proxy by: 0 is among --proxy-gid")
    return notes
