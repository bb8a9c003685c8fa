"""The runner's tools: choosing infrastructure, settings files, checks of locks, the summary of tests, secrets, make."""

import base64
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from deploy.devstack import check, cli, compose, dotenv, prepare, summary, testing
from deploy.devstack.console import RunnerError
from deploy.devstack.infra import choose as choosing
from deploy.devstack.infra import docker, given, native, packages
from deploy.devstack.infra.base import Context, Endpoints
from deploy.devstack.scratch import ROOT
from device_bridge.settings import DevicesSettings
from payments_gateway.settings import GatewaySettings
from sandbox.providers.cloudpayments.settings import Settings as CloudPaymentsSettings
from sandbox.providers.mock.settings import Settings as MockSettings
from tests.e2e.coffee_scenario import Kiosk

TARGETS = (
    *("install", "migrate", "up", "down", "demo", "worker", "beat", "shell", "operator"),
    *("test", "check", "bench", "chaos", "bugs", "compose-demo", "lock", "docs", "coverage-map"),
)
CONTEXT = Context.__new__(Context)


@pytest.fixture
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for variable in ("COPECK_INFRA", *given.VARIABLES.values()):
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


def test_given_servers_come_first(nothing_given: pytest.MonkeyPatch) -> None:
    for variable in given.VARIABLES.values():
        nothing_given.setenv(variable, "postgresql://somewhere")
    assert choosing.choose(CONTEXT).kind == "env"


def test_installed_servers_come_second(nothing_given: pytest.MonkeyPatch) -> None:
    nothing_given.setattr(native, "missing", dict)
    assert choosing.choose(CONTEXT).kind == "native"


def test_containers_come_third(nothing_given: pytest.MonkeyPatch) -> None:
    nothing_given.setattr(native, "missing", lambda: {"RabbitMQ": "rabbitmq-server"})
    nothing_given.setattr(docker, "usable", lambda: None)
    assert choosing.choose(CONTEXT).kind == "docker"


def test_servers_are_installed_where_that_is_allowed(nothing_given: pytest.MonkeyPatch) -> None:
    installed: list[list[str]] = []
    nothing_given.setattr(native, "missing", lambda: {"RabbitMQ": "rabbitmq-server"})
    nothing_given.setattr(docker, "usable", lambda: "no engine")
    nothing_given.setattr(packages, "may_install", lambda: True)
    nothing_given.setattr(packages, "install", installed.append)
    assert choosing.choose(CONTEXT).kind == "native"
    assert installed == [["rabbitmq-server"]]


def test_else_one_line_says_what_to_install(nothing_given: pytest.MonkeyPatch) -> None:
    nothing_given.setattr(native, "missing", lambda: {"RabbitMQ": "rabbitmq-server"})
    nothing_given.setattr(docker, "usable", lambda: "no engine")
    nothing_given.setattr(packages, "may_install", lambda: False)
    with pytest.raises(RunnerError, match="apt-get install rabbitmq-server"):
        choosing.choose(CONTEXT)


def test_an_unknown_kind_is_refused(nothing_given: pytest.MonkeyPatch) -> None:
    nothing_given.setenv("COPECK_INFRA", "podman")
    with pytest.raises(RunnerError, match="env, native, docker"):
        choosing.choose(CONTEXT)


def test_env_without_urls_names_what_is_missing(nothing_given: pytest.MonkeyPatch) -> None:
    nothing_given.setenv("COPECK_INFRA", "env")
    with pytest.raises(RunnerError, match="COPECK_TEST_POSTGRES_URL"):
        choosing.choose(CONTEXT)


def test_the_policy_that_holds_daemons_back_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages, "_POLICY", policy)
    with packages._no_daemons():
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()
    policy.write_text("#!/bin/sh\nexit 0\n")
    policy.chmod(0o700)
    with packages._no_daemons():
        assert "101" in policy.read_text()
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert policy.stat().st_mode & 0o777 == 0o700


def test_the_settings_file_does_not_override_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("# a comment\nCOPECK_INFRA=docker\nCOPECK_SCRATCH_DIR='/a b'\nPATH=/nowhere\nnot a setting\n")
    monkeypatch.setenv("COPECK_INFRA", "native")
    monkeypatch.delenv("COPECK_SCRATCH_DIR", raising=False)
    path = os.environ["PATH"]
    dotenv.load(file)
    assert os.environ["COPECK_INFRA"] == "native"
    assert os.environ["COPECK_SCRATCH_DIR"] == "/a b"
    assert os.environ["PATH"] == path


def test_each_login_has_its_own_url() -> None:
    endpoints = Endpoints("postgresql://postgres:x@127.0.0.1:5432/postgres", "amqp://a:b@127.0.0.1:5672/%2F", "", "")
    logins = prepare.Logins({"auth": "p/w"}, {"auth": "q", "gateway": "r", "reminders": "s", "devices": "t"})
    assert prepare.database_urls(endpoints, logins) == {"auth": "postgresql://auth:p%2Fw@127.0.0.1:5432/copeck"}
    billing, celery = prepare.broker_urls(endpoints, logins)
    assert billing["auth"] == "amqp://auth:q@127.0.0.1:5672/billing"
    assert set(celery) == {"gateway", "devices", "reminders"}
    assert celery["gateway"] == "amqp://gateway:r@127.0.0.1:5672/celery"


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://mirror.example/simple",
        "-i https://mirror.example",
        "--find-links /wheels",
        "a @ file:///a.whl",
    ],
)
def test_an_index_address_in_a_lock_is_found(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deploy" / "lock"
    folder.mkdir(parents=True)
    (folder / "auth.txt").write_text(f"a==1 \\\n    --hash=sha256:00\n{line}\n")
    monkeypatch.setattr(check, "ROOT", tmp_path)
    passed, output = check.locks()
    assert not passed
    assert "auth.txt:3" in output


def test_a_requirement_without_a_hash_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deploy" / "lock"
    folder.mkdir(parents=True)
    (folder / "auth.txt").write_text("a==1 \\\n    --hash=sha256:00\nb==2\n")
    monkeypatch.setattr(check, "ROOT", tmp_path)
    assert check.locks() == (False, "auth.txt: b==2 has no hash")


def test_the_locks_are_clean() -> None:
    assert check.locks() == (True, "")


@pytest.mark.covers("make test")
def test_one_summary_of_all_suites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "junit.xml"
    report.write_text('<testsuites><testsuite tests="7" failures="1" errors="1" skipped="2"/></testsuites>')
    outcome = testing.Outcome("unit")
    testing._read_report(outcome, report)
    assert (outcome.passed, outcome.failed, outcome.skipped) == (3, 2, 2)
    assert testing._summarise([outcome, testing.Outcome("e2e", passed=4, broken=True)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "7 passed, 3 failed"
    assert testing._summarise([testing.Outcome("unit", passed=1)]) == 0
    assert testing._summarise([]) == 1


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(RunnerError, match="no suite e3e; there are unit, integration"):
        testing.run(["e3e"], [])


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_exit_status_is_that_of_the_tests(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.devstack.cli.signal.signal", lambda *_arguments: None)
    monkeypatch.setattr(testing, "run", lambda _suites, _arguments: status)
    with pytest.raises(SystemExit) as ended:
        cli.main(["test"])
    assert ended.value.code == status


def test_what_a_person_must_know_is_one_line_and_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deploy.devstack.cli.signal.signal", lambda *_arguments: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["test", "--suite", "e3e"])
    assert ended.value.code == 1
    assert "no suite e3e" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.main(["nonsense"])
    assert ended.value.code == 2


def test_secrets_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "secrets"
    monkeypatch.setattr(compose, "SECRETS", folder)
    compose.make_secrets()
    first = {path.name: path.read_text() for path in folder.iterdir()}
    compose.make_secrets()
    assert {path.name: path.read_text() for path in folder.iterdir()} == first
    assert folder.stat().st_mode & 0o777 == 0o700
    assert json.loads(first["broker_passwords"])["gateway"] in first["gateway_celery_broker_url"]
    (folder / "shops").unlink()
    with pytest.raises(RunnerError, match="incomplete"):
        compose.make_secrets()


def test_the_compose_file_mounts_every_secret_that_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "SECRETS", tmp_path / "secrets")
    made = {path.name for path in compose.make_secrets().iterdir()}
    text = compose.FILE.read_text(encoding="utf-8")
    assert made == set(re.findall(r"file: \./secrets/(\w+)", text))


def test_the_gateway_and_the_emulators_have_the_same_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "SECRETS", tmp_path / "secrets")
    folder = compose.make_secrets()
    monkeypatch.setenv("COPECK_SHOPS_FILE", str(folder / "shops"))
    shops = {shop.provider: shop for shop, _products in GatewaySettings(database_url="").shop_list()}
    mock = MockSettings(shops_file=folder / "mock_shops").all_shops()[shops["mock"].public_id]
    assert mock.api_secret.get_secret_value() == shops["mock"].api_secret
    terminal, _merchants = CloudPaymentsSettings(shops_file=folder / "emulator_shops").all_shops()
    keys = (shops["cloudpayments"].public_id, shops["cloudpayments"].api_secret)
    assert (terminal.public_id, terminal.api_secret.get_secret_value()) == keys


def test_the_device_service_and_the_machines_broker_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "SECRETS", tmp_path / "secrets")
    folder = compose.make_secrets()
    monkeypatch.setenv("COPECK_MQTT_URL_FILE", str(folder / "mqtt_url"))
    monkeypatch.setenv("COPECK_DEVICE_SECRET_FILE", str(folder / "device_secret"))
    settings = DevicesSettings()
    assert len(settings.secret()) >= 32
    url = urlsplit(settings.mqtt_url)
    [client] = json.loads((folder / "mosquitto_accounts").read_text())["clients"]
    assert (url.scheme, url.username, url.hostname) == ("mqtts", client["username"], "mosquitto")
    given, salt = str(url.password).encode(), base64.b64decode(client["salt"])
    assert (folder / "mqtt_password").read_bytes() == given
    hashed = hashlib.pbkdf2_hmac("sha512", given, salt, client["iterations"], 64)
    assert base64.b64encode(hashed).decode() == client["password"]
    certificate = x509.load_pem_x509_certificate((folder / "mosquitto_certificate").read_bytes())
    authority = x509.load_pem_x509_certificate((folder / "mqtt_ca").read_bytes())
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert url.hostname in names.get_values_for_type(x509.DNSName)


def test_the_summary_shows_the_machine_that_is_switched_on() -> None:
    urls = {"public": "http://p", "admin": "http://a", "machines": "http://m", "device-bridge": "http://d"}
    state = {
        "urls": urls, "people": {}, "servers": {"management_url": "http://x:y@h"}, "logs": "/l",
        "monitor": {"user": "monitor", "password": "pw"},
    }  # fmt: skip
    kiosk = Kiosk("kiosk-1", "m-1", "00", "http://p", "http://m/machines/kiosk-1")
    shown = "\n".join(text for _, text in summary.lines(state, kiosk))
    assert "http://m/machines/kiosk-1" in shown
    assert "http://p/m/kiosk-1" in shown
    assert "http://p/devices/api/v1/docs" in shown
    assert "kiosk-1" not in "\n".join(text for _, text in summary.lines(state))


@pytest.mark.parametrize("target", TARGETS)
def test_make_lists_each_target_with_its_help(target: str) -> None:
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    assert re.search(rf"^  {target} +\S", listing, re.MULTILINE)


def test_a_make_that_a_test_runs_has_no_options_of_the_one_that_runs_the_tests(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("outer:\n\t@env\n")
    command = ["make", "-s", "-C", str(tmp_path), "outer", "ARGS=--suite unit"]
    outer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    given = dict(line.split("=", 1) for line in outer.splitlines() if "=" in line)
    assert given["ARGS"] == "--suite unit"
    (tmp_path / "Makefile").write_text("ARGS ?=\ninner:\n\t@echo [$(ARGS)]\n")
    inner = ["make", "-s", "-C", str(tmp_path), "inner"]
    env = testing.without_make(given)
    assert subprocess.run(inner, env=env, capture_output=True, text=True, check=True, timeout=30).stdout == "[]\n"


def test_the_build_server_runs_the_readme_s_test_command() -> None:
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().endswith("exec make test")
