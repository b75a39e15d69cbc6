"""The few roots that the layer ships verify AWS's endpoints, and give way to all of botocore's when they do not."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import SSLError

import build_models
from benchmarks import stub
from kirikae import aws


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[stub.Stub]:
    """Return an HTTPS endpoint of AWS whose certificate is signed by none of the public roots."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-northeast-1")
    monkeypatch.setattr(aws, "_ROOTS", tmp_path / "roots.pem")
    with stub.Stub(tmp_path) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
        forget()
        yield endpoint
        forget()


def forget() -> None:
    """Let the next client be made anew."""
    aws.client.cache_clear()
    aws._session.cache_clear()


def hold() -> str:
    """Read a parameter, as the handlers do before a write."""
    return str(aws.client("ssm").get_parameter(Name="/shop/hold")["Parameter"]["Value"])


def test_the_roots_are_those_of_amazon_trust_services() -> None:
    context = ssl.create_default_context(cadata=build_models.roots())
    names = {dict(part[0] for part in root["subject"])["commonName"] for root in context.get_ca_certs()}
    assert names >= {f"Amazon Root CA {number}" for number in (1, 2, 3, 4)}


def test_an_endpoint_that_the_shipped_roots_verify_is_used(endpoint: stub.Stub, tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_bytes(endpoint.authority.read_bytes())
    assert hold() == "off"


def test_after_a_certificate_that_they_do_not_verify_every_root_is_trusted(
    endpoint: stub.Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roots.pem").write_text(build_models.roots())
    monkeypatch.setattr("botocore.httpsession.where", lambda: str(endpoint.bundle))  # all of botocore's roots
    with pytest.raises(SSLError):
        hold()
    assert hold() == "off"


def test_a_bundle_that_the_user_names_is_the_one(
    endpoint: stub.Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roots.pem").write_text(build_models.roots())
    monkeypatch.setenv("AWS_CA_BUNDLE", str(endpoint.bundle))
    forget()
    assert hold() == "off"
