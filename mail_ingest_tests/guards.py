"""`python -m mail_ingest_tests.guards [NAME ...]`: takes out each guard in turn and names the test that then fails.

A guard is a line of the product that exists because something was once lost, doubled or wrongly deleted. Each is taken out
in a copy of the repository, and the tests that should notice are run there; a guard that nobody misses ends the command with 1.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_COPIED = ("mail_ingest", "mail_ingest_tests", "sql", "pyproject.toml", "README.md", "Makefile", ".ci")


@dataclass(frozen=True, slots=True)
class Guard:
    """What is taken out: `old`, which stands in `path` exactly once, becomes `new`. `tests` should notice."""

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]


GUARDS = (
    Guard(
        "a claimed request is joined by nobody",
        "mail_ingest/accounts/requests.py",
        "    waiting = _read(connection, _IS_WAITING & (sync_requests.c.account_id == account_id), for_update=True)\n",
        '    waiting = _read(connection, sync_requests.c.state.in_(("waiting", "claimed")) & '
        "(sync_requests.c.account_id == account_id), for_update=True)\n",
        ("accounts/test_requests.py::test_a_claimed_request_is_joined_by_nobody",),
    ),
    Guard(
        "a request is acknowledged only when its run was queued",
        "mail_ingest/defs/requests.py",
        " for run in runs if run.status is not dg.DagsterRunStatus.NOT_STARTED}",
        " for run in runs}",
        ("defs/test_requests.py::test_a_request_is_asked_for_under_one_key_until_its_run_is_queued",),
    ),
    Guard(
        "a cancelled drain loads what it fetched",
        "mail_ingest/ingest/content.py",
        "            except (GmailError, CancelledError) as error:\n",
        "            except GmailError as error:\n",
        ("ingest/test_cancelling.py::test_a_cancelled_drain_loads_what_it_fetched_and_the_next_sync_goes_on",),
    ),
    Guard(
        "a run that was ended is not tried again by its retry policy",
        "mail_ingest/defs/syncing.py",
        "            allow_retries=False,\n",
        "            allow_retries=True,\n",
        ("defs/test_requests.py::test_a_run_that_dagster_ends_stops_at_a_safe_point",),
    ),
    Guard(
        "a run that never held its lock is not taken for dead",
        "mail_ingest/defs/reaper.py",
        "if run.tags.get(ALIVE_TAG) != run.run_id or not is_worker_dead(settings, run.run_id):",
        "if not is_worker_dead(settings, run.run_id):",
        ("defs/test_reaper.py::test_a_run_that_was_never_marked_is_left_to_its_bound",),
    ),
    Guard(
        "an account is not started again before its turn in a run has come",
        "mail_ingest/defs/adaptive.py",
        " if not under_way.holds(account)]",
        "]",
        ("defs/test_adaptive.py::test_an_account_is_not_started_again_before_its_turn_in_a_run_has_come",),
    ),
    Guard(
        "rows that were rewritten count as loaded",
        "mail_ingest/warehouse/rewriting.py",
        "            if rows:\n                _note_load(connection, self._dataset, load_id)\n",
        "",
        ("ingest/test_erasing.py::test_the_mailbox_stays_true_and_nothing_is_bought_again",),
    ),
    Guard(
        "an address that is part of another one is told apart in files",
        "mail_ingest/ingest/erasing/evidence.py",
        "return not any(_is_at(data, start, end, token) for token in self._tolerated)",
        "return True",
        ("ingest/test_erased_people.py::test_files_hold_values_side_by_side_and_in_pieces",),
    ),
    Guard(
        "a message that the neighbour's listing has filed is bought with its own month",
        "mail_ingest/ingest/account_sync.py",
        "Scope(partitions=options.partitions, filed_elsewhere=elsewhere)",
        "Scope(partitions=options.partitions)",
        ("ingest/test_backfill.py::test_a_message_that_the_neighbour_has_listed_first_is_bought_with_its_own_month",),
    ),
    Guard(
        "who waits for an account's content is next",
        "mail_ingest/warehouse/locks.py",
        'with self.hold(f"next:{name}", wait_s=wait_s):',
        "with ExitStack():",
        ("crashes/test_backfills.py::test_a_sync_beside_a_backfill_waits_for_one_package_at_most",),
    ),
    Guard(
        "a backfill leaves the rest of the day to the account's syncs",
        "mail_ingest/ingest/account_sync.py",
        "None if self._options.partitions and _is_own_limit(failure) else run.resume_at",
        "run.resume_at",
        ("ingest/test_backfill.py::test_a_spent_share_of_the_day_leaves_the_account_to_its_syncs",),
    ),
    Guard(
        "a control database is brought forward by its own deployment alone",
        "mail_ingest/accounts/database.py",
        "if version is not None and env is not None:",
        "if version is None and env is not None:",
        ("cli/test_deployments.py::test_an_older_control_database_is_brought_forward_by_its_own_deployment_alone",),
    ),
    Guard(
        "another deployment erases nothing",
        "mail_ingest/ingest/erasure.py",
        "    engine.registry.check_deployment()\n",
        "",
        ("cli/test_deployments.py::test_a_removed_account_is_not_erased_by_another_deployment",),
    ),
    Guard(
        "a shared token of other credentials is not used",
        "mail_ingest/accounts/shared_tokens.py",
        'if content["origin"] != origin:',
        'if not content["origin"]:',
        (
            "accounts/test_shared_tokens.py::test_token_of_a_document_that_changed_behind_its_reference_is_not_used",
            "accounts/test_shared_tokens.py::test_token_of_other_application_default_credentials_is_not_used",
        ),
    ),
    Guard(
        "an erased account is not discovered anew",
        "mail_ingest/accounts/registry.py",
        'delete(accounts).where(is_this, accounts.c.discovered_from == "")',
        "delete(accounts).where(is_this)",
        ("accounts/test_discovery.py::test_who_was_erased_is_not_read_again",),
    ),
    Guard(
        "codes and tokens of a consent are logged by nobody",
        "mail_ingest/accounts/consent.py",
        "logger.disabled = True",
        "logger.disabled = False",
        ("cli/test_connect.py::test_no_token_code_or_secret_is_in_any_output_at_debug_level",),
    ),
    Guard(
        "a consent of another mailbox is not stored",
        "mail_ingest/ingest/connecting.py",
        "    if mailbox != account_id:",
        "    if not mailbox:",
        ("cli/test_connect.py::test_another_mailbox_that_consents_is_told_and_its_consent_is_revoked",),
    ),
    Guard(
        "an answer with another state is refused",
        "mail_ingest/accounts/redirect.py",
        'compare_digest(answer.get("state", "").encode(), self._state.encode())',
        "True",
        ("cli/test_connect.py::test_an_answer_with_another_state_is_refused_and_the_right_one_still_taken",),
    ),
    Guard(
        "a discovery pauses nobody where the list broke off",
        "mail_ingest/accounts/discovery.py",
        "        for page in list_people(lister, self._plan.admin, self._plan.domain, url):",
        "        from itertools import islice\n\n"
        "        for page in islice(list_people(lister, self._plan.admin, self._plan.domain, url), 1):",
        ("accounts/test_discovery.py::test_a_list_that_breaks_off_pauses_nobody",),
    ),
    Guard(
        "a sweep that comes back short is refused",
        "mail_ingest/gmail/sweep.py",
        "if swept < messages_total * MIN_SWEEP_SHARE:",
        "if swept < 0:",
        ("ingest/test_state_sync.py::test_a_short_sweep_deletes_nothing",),
    ),
    Guard(
        "a sweep that does not add up is repeated",
        "mail_ingest/ingest/state.py",
        "if replay.count_at(pinned, swept, len(swept)) != profile.messages_total:",
        "if len(swept) < 0:",
        ("ingest/test_state_sync.py::test_pages_that_skip_ids_under_change_delete_nothing_that_lives",),
    ),
    Guard(
        "the cursor is taken before the sweep",
        "mail_ingest/ingest/state.py",
        "        replay, history_id = self._replay_since(since, pinned, labels, known, packages)\n",
        "        pinned = since = self._client.get_profile().history_id\n"
        "        replay, history_id = self._replay_since(since, pinned, labels, known, packages)\n",
        ("ingest/test_state_sync.py::test_changes_during_a_sweep_are_replayed",),
    ),
    Guard(
        "labels that Gmail does not list are kept",
        "mail_ingest/ingest/state.py",
        "lasting_labels=lambda label_id: label_id not in listed,",
        "lasting_labels=lambda label_id: False,",
        ("ingest/test_state_sync.py::test_labels_that_gmail_does_not_list_are_kept",),
    ),
    Guard(
        "a warehouse that is behind its cursor is swept anew",
        "mail_ingest/ingest/state.py",
        "if cursor is not None and not known.is_reached:",
        "if cursor is not None and cursor.history_id < 0:",
        ("ingest/test_state_sync.py::test_a_warehouse_restored_from_a_backup_is_swept_anew",),
    ),
    Guard(
        "history that begins anew is swept until it has caught up",
        "mail_ingest/ingest/state.py",
        "if cursor is not None and profile.history_id < max(cursor.history_id, cursor.incomparable_up_to):",
        "if cursor is not None and profile.history_id < 0:",
        ("ingest/test_state_sync.py::test_a_mailbox_whose_history_begins_anew_is_swept_until_it_has_caught_up",),
    ),
    Guard(
        "states from before history began anew are remembered where the cursor is lost",
        "mail_ingest/ingest/state.py",
        "        return highest if highest > profile.history_id else 0\n",
        "        return 0\n",
        ("ingest/test_state_sync.py::test_a_history_that_begins_anew_is_noticed_without_the_cursor_too",),
    ),
    Guard(
        "what history told before it broke off is landed",
        "mail_ingest/ingest/state.py",
        "        if not len(replay):\n",
        "        if True:\n",
        ("ingest/test_state_sync.py::test_history_that_breaks_off_between_two_pages_is_kept_and_gone_on_from",),
    ),
    Guard(
        "no history right after a sweep is no expiry",
        "mail_ingest/ingest/state.py",
        "            return replay, pinned\n",
        "            raise\n",
        ("ingest/test_state_sync.py::test_history_that_expires_while_a_sweep_runs_does_not_fail_it",),
    ),
    Guard(
        "credentials of another mailbox are noticed",
        "mail_ingest/ingest/state.py",
        "    if profile.email_address.lower() != account_id:",
        "    if not profile.email_address:",
        ("cli/test_cli.py::test_a_token_of_another_mailbox_reads_and_writes_nothing",),
    ),
    Guard(
        "archived packs that were not loaded are adopted",
        "mail_ingest/ingest/content.py",
        "                self._adopt()\n",
        "",
        ("ingest/test_content.py::test_a_killed_process_costs_at_most_the_pack_that_was_open",),
    ),
    Guard(
        "one writer per account",
        "mail_ingest/ingest/account_sync.py",
        'with known.lock if known is not None else engine.locks.hold(f"account:{self._account_id}"):',
        "if account:",
        ("cli/test_cli.py::test_an_account_held_by_another_process_exits_with_three",),
    ),
    Guard(
        "one buyer of an account's content",
        "mail_ingest/ingest/content.py",
        'with self._locks.hold_in_turn(f"content:{self._account_id}", wait_s=wait_s):\n            self._accept_terms()',
        "if self._locks:\n            self._accept_terms()",
        ("cli/test_cli.py::test_state_lands_although_content_is_held_elsewhere",),
    ),
    Guard(
        "one account's failure is its own",
        "mail_ingest/ingest/account_sync.py",
        '        except MailIngestError as error:\n            run.outcome, failure = "failed", error\n',
        '        except ZeroDivisionError as error:\n            run.outcome, failure = "failed", error\n',
        ("ingest/test_bad_days.py::test_one_broken_account_never_stops_the_others",),
    ),
    Guard(
        "DuckDB gets memory by the size of the package",
        "mail_ingest/warehouse/embedded.py",
        "max(_LEAST_MEMORY, _MEMORY_PER_BYTE * size_bytes)",
        "_LEAST_MEMORY",
        ("ingest/test_sizes.py::test_very_long_texts_are_loaded_and_what_comes_after_them_too",),
    ),
    Guard(
        "states are monotonic by history id",
        "mail_ingest/sources/landing.py",
        'condition = " WHERE t.history_id > st.history_id"',
        'condition = " WHERE t.history_id < 0"',
        ("sources/test_landing.py::test_an_older_state_never_replaces_a_newer_one",),
    ),
    Guard(
        "what is there already is not merged again",
        "mail_ingest/sources/landing.py",
        '    if table.guard == "latest":\n',
        '    if table.guard != "monotonic":\n',
        ("sources/test_landing.py::test_an_event_seen_again_keeps_its_first_observation",),
    ),
    Guard(
        "a pending load is finished before new rows are loaded",
        "mail_ingest/warehouse/pipeline.py",
        "            self._finish(pipeline)\n            self._warehouse.expect_load(size_bytes",
        "            pipeline.drop_pending_packages()\n            self._warehouse.expect_load(size_bytes",
        ("sources/test_landing.py::test_a_failed_load_is_finished_before_new_rows_are_loaded",),
    ),
    Guard(
        "a pending load is finished before the cursor is read",
        "mail_ingest/warehouse/pipeline.py",
        "            self._finish(pipeline)\n            pipeline.sync_destination()",
        "            pipeline.sync_destination()",
        ("ingest/test_deaths.py::test_changes_that_a_dead_process_left_pending_are_not_asked_for_again",),
    ),
    Guard(
        "files that were written and not put in place are removed",
        "mail_ingest/warehouse/working_folder.py",
        "            path.unlink()\n",
        "            pass\n",
        ("ingest/test_deaths.py::test_a_schema_that_was_written_and_not_put_in_place_is_no_schema",),
    ),
    Guard(
        "staging per pipeline",
        "mail_ingest/warehouse/pipeline.py",
        'self._warehouse.destination(f"%s_staging_{name}")',
        'self._warehouse.destination("%s_staging")',
        ("sources/test_landing.py::test_pipelines_have_staging_datasets_of_their_own",),
    ),
    Guard(
        "a lost lock is noticed before rows are written",
        "mail_ingest/warehouse/advisory.py",
        "            if not is_alive(connection):",
        "            if connection is None:",
        ("crashes/test_dropped_connections.py::test_an_account_whose_lock_is_lost_while_it_is_swept_is_not_written",),
    ),
    Guard(
        "processes that start at once make one warehouse",
        "mail_ingest/warehouse/postgres.py",
        '        with self._locks.hold("prepare"):\n',
        "        if self._locks:\n",
        ("warehouse/test_postgres.py::test_processes_that_start_at_once_make_one_warehouse",),
    ),
    Guard(
        "a package that is loaded is put away",
        "mail_ingest/warehouse/pipeline.py",
        "        _put_away_loaded(pipeline)\n",
        "",
        ("ingest/test_deaths.py::test_a_package_that_is_loaded_and_not_put_away_does_not_stop_the_account",),
    ),
    Guard(
        "content that landed without its recipients is taken back",
        "mail_ingest/ingest/content.py",
        "            self._pipelines.remove_unfinished(self._account_id, ",
        "            str(",
        ("crashes/test_crashes.py", "crashes/test_left_behind.py"),
    ),
    Guard(
        "nobody waits for the warehouse while Gmail is asked",
        "mail_ingest/ingest/engine.py",
        "        self.warehouse.let_go()\n        self.stop_sign.check()",
        "        self.stop_sign.check()",
        ("warehouse/test_keeping_open.py::test_nobody_waits_for_the_warehouse_while_gmail_is_asked",),
    ),
    Guard(
        "a working folder is mended after a kill",
        "mail_ingest/warehouse/pipeline.py",
        "            mend_working_folder(folder / name)\n",
        "",
        ("crashes/test_crashes.py",),
    ),
    Guard(
        "a package that landed in part is finished from the older cursor",
        "mail_ingest/ingest/state.py",
        "self.loaded is not None and self.loaded >= self.cursor.history_id\n",
        "self.loaded is not None and self.loaded == self.cursor.history_id\n",
        (
            "crashes/test_crashes.py::test_a_killed_sync_is_finished_by_the_next[later:-account-merged,-states-not:-folder-lost]",
        ),
    ),
    Guard(
        "a label whose end landed alone leaves its messages",
        "mail_ingest/ingest/state.py",
        "            vanished = vanished_labels(labels, known, cursor.observed_at)\n",
        "            vanished = vanished_labels(labels, known)\n",
        (
            "crashes/test_crashes.py::test_a_killed_sync_is_finished_by_the_next[label:-labels-merged,-states-not:-folder-lost]",
        ),
    ),
    Guard(
        "what a sweep tells lands before its states",
        "mail_ingest/ingest/packages.py",
        "            self._ahead[-1][1].add_events(events)\n",
        "            self.rows.add_events(events)\n",
        (
            "crashes/test_crashes.py::test_a_killed_sync_is_finished_by_the_next[expired:-states-merged,-events-not:-folder-lost]",
        ),
    ),
    Guard(
        "a sweep that died tells its events once",
        "mail_ingest/ingest/state.py",
        "        self._pipelines.remove_early_events(self._account_id)\n        replay, history_id = self._replay_since(",
        "        replay, history_id = self._replay_since(",
        ("crashes/test_left_behind.py::test_a_sweep_that_died_after_its_events_tells_them_once",),
    ),
    Guard(
        "events of a sweep that died give way to those of a history that is there after all",
        "mail_ingest/ingest/state.py",
        "            self._pipelines.remove_early_events(self._account_id)\n        with self._packages(cursor.observed_at)",
        "            pass\n        with self._packages(cursor.observed_at)",
        (
            "crashes/test_left_behind.py::test_a_sweep_that_died_after_its_events_leaves_them_to_a_history_that_is_there",
        ),
    ),
    Guard(
        "a label that came and went stays on no message",
        "mail_ingest/ingest/state.py",
        "            if state is not None and label_id not in state.label_ids:\n",
        "            if state is None and label_id:\n",
        ("ingest/test_state_sync.py::test_a_label_that_came_and_went_between_two_syncs_stays_on_no_message",),
    ),
    Guard(
        "dead letters keep nobody waiting",
        "mail_ingest/ingest/content.py",
        "            ids = ids[: self._dead_letters_left]\n",
        "",
        ("ingest/test_dead_letters.py::test_many_dead_letters_are_bounded_per_run_and_fail_no_account",),
    ),
    Guard(
        "what a stricter tier forbids is taken out of texts",
        "mail_ingest/privacy/rows.py",
        "        return redact(value, replace_address=replace, announces_code=about.announces_code)\n",
        "        return value if replace or about else value\n",
        ("ingest/test_privacy_tiers.py::test_what_a_tier_forbids_is_nowhere",),
    ),
    Guard(
        "addresses are hashed in the tier that says so",
        "mail_ingest/privacy/rows.py",
        "return value if address.lower() == about.account_id or not address else self._hash.address(address)",
        "return value if address or about else value",
        ("ingest/test_erasing.py::test_a_person_is_erased_and_kept_out_by_their_hash_where_addresses_are_hashed",),
    ),
    Guard(
        "sign-in mail is left out",
        "mail_ingest/privacy/rows.py",
        "        if self.policy.sign_in_mail:\n            return None\n",
        "        if self.policy:\n            return None\n",
        ("ingest/test_privacy_tiers.py::test_sign_in_mail_is_bought_once_and_leaves_only_its_id",),
    ),
    Guard(
        "the tier headers never asks for bodies",
        "mail_ingest/ingest/content.py",
        "self._client.get_raw_messages if self._policy.keeps_bodies else self._client.get_header_messages",
        "self._client.get_raw_messages",
        ("ingest/test_privacy_tiers.py::test_the_tier_headers_fetches_headers_alone",),
    ),
    Guard(
        "bytes that may not be kept are not archived",
        "mail_ingest/ingest/content.py",
        'self._raw_archive if self._policy.keeps_bytes else RawArchive("off")',
        "self._raw_archive",
        ("ingest/test_privacy_tiers.py::test_attachments_go_where_they_are_turned_off_and_come_back_for_their_price",),
    ),
    Guard(
        "a default that has become stricter holds for what is stored",
        "mail_ingest/ingest/account_sync.py",
        "        narrow_if_needed(engine, account)\n",
        "",
        ("ingest/test_privacy_tiers.py::test_a_default_that_becomes_stricter_holds_for_what_is_stored",),
    ),
    Guard(
        "attachments that are left out are not missed",
        "sql/checks/attachments__message_is_stored.sql",
        "case when position(' without attachments' in messages.privacy) > 0 then 0 else messages.attachment_count end",
        "messages.attachment_count",
        ("ingest/test_privacy_tiers.py::test_attachments_go_where_they_are_turned_off_and_come_back_for_their_price",),
    ),
    Guard(
        "nothing is bought again without an agreement",
        "mail_ingest/ingest/privacy.py",
        "    if not account.buys_again:\n        return ()\n    agreed = insufficient_forms",
        "    agreed = insufficient_forms",
        ("cli/test_privacy.py::test_a_default_that_becomes_wider_buys_nothing_and_status_counts_what_would_be",),
    ),
    Guard(
        "an agreement to buy again is about the tier that held then",
        "mail_ingest/ingest/privacy.py",
        "    agreed = insufficient_forms(replace(policy, tier=account.agreed_privacy or policy.tier))\n",
        "    agreed = insufficient_forms(policy)\n",
        ("ingest/test_privacy_tiers.py::test_an_agreement_to_buy_again_is_not_about_a_wider_default",),
    ),
    Guard(
        "a person is erased by the hash as well",
        "mail_ingest/ingest/erasing/contact.py",
        "return [wanted] if key is None else [wanted, Hasher(key).address(wanted)]",
        "return [wanted] if key is None or Hasher else []",
        ("ingest/test_erasing.py::test_a_person_is_erased_and_kept_out_by_their_hash_where_addresses_are_hashed",),
    ),
    Guard(
        "an erased account keeps no names of labels",
        "mail_ingest/accounts/registry.py",
        '"include_labels": "", "exclude_labels": "", ',
        "",
        (
            "accounts/test_erasures.py::test_an_account_that_a_discovery_would_find_again_keeps_its_name_and_no_name_of_a_label",
        ),
    ),
    Guard(
        "the warehouse's log has the rights of the warehouse",
        "mail_ingest/warehouse/embedded.py",
        "            stack.enter_context(made_like(self.path))\n",
        "",
        (
            "test_private_files.py::test_the_log_of_a_warehouse_has_the_rights_of_the_warehouse_and_the_process_keeps_its_umask",
        ),
    ),
    Guard(
        "accounts that keep failing wait",
        "mail_ingest/accounts/waiting.py",
        '    values["next_due_at"] = now + wait\n',
        "",
        ("ingest/test_waiting.py::test_an_account_that_keeps_failing_is_left_alone_until_its_time_comes",),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the guards and prints which test missed each; 1 where one was missed by none."""
    parser = argparse.ArgumentParser(
        prog="python -m mail_ingest_tests.guards", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="guards whose names contain one of these; all without any"
    )
    names = parser.parse_args(arguments).names
    wanted = [guard for guard in GUARDS if not names or any(name in guard.name for name in names)]
    with tempfile.TemporaryDirectory(prefix="mail-ingest-guards-") as folder:
        missed = [try_without(guard, Path(folder) / str(number)) for number, guard in enumerate(wanted)]
    print(f"{sum(missed)} of {len(wanted)} guards are missed by a test when they are taken out")
    return 0 if all(missed) else 1


def try_without(guard: Guard, copy: Path) -> bool:
    """Whether a test fails without the guard; prints which."""
    began = time.perf_counter()
    copy.mkdir()
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, copy / name)
    path = copy / guard.path
    path.write_text(without(guard, path.read_text()))
    tests = [f"mail_ingest_tests/{test}" for test in guard.tests]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "-m", "not long", "-p", "no:cacheprovider", *tests],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    shutil.rmtree(copy)
    verdict = f"missed by {failed[0].removeprefix('mail_ingest_tests/')}" if failed else "NOT MISSED by any test"
    print(f"{time.perf_counter() - began:6.1f} s  {guard.name}: {verdict}", flush=True)
    return bool(failed) and done.returncode == 1


def without(guard: Guard, source: str) -> str:
    """The module without the guard. Raises ValueError where it no longer stands there once."""
    if source.count(guard.old) != 1:
        raise ValueError(f"the guard {guard.name!r} stands {source.count(guard.old)} times in {guard.path}")
    return source.replace(guard.old, guard.new)


if __name__ == "__main__":
    raise SystemExit(main())
