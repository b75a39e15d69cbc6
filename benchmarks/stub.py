"""AWS on loopback for the benchmarks: HTTPS, keep-alive, fixed answers, a record of what was asked and when.

The certificate comes from an authority made for the run, appended to the public bundle that botocore ships: a client
pays for loading the whole bundle, as it does against AWS.
"""

import datetime
import json
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import botocore.httpsession
from botocore import xform_name
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_ELB = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012"
LOAD_BALANCER = f"{_ELB}:loadbalancer/net/shop/50dc6c495c0c9188"
LISTENER = f"{_ELB}:listener/net/shop/50dc6c495c0c9188/0467ef3c8400ae65"
PRIMARY = f"{_ELB}:targetgroup/shop-servers/73e2d6bc24d8a067"
SORRY = f"{_ELB}:targetgroup/shop-sorry/2453ed029918f21f"
INSTANCES = ("i-0a1b2c3d4e5f60718", "i-0f9e8d7c6b5a40312")
TOPIC = "arn:aws:sns:ap-northeast-1:123456789012:shop"


class Stub:
    """A listener whose two servers are stopped (`primary` = "stopping") or have come back (`primary` = "healthy")."""

    def __init__(self, directory: Path) -> None:
        self.primary = "stopping"
        self.weights = {PRIMARY: 1, SORRY: 0}
        self.calls: list[str] = []
        self._versions = 1  # of the parameter that says what people were told
        self.on_call: Callable[[str], None] = lambda _: None
        self.bundle = directory / "bundle.pem"
        self.authority = directory / "authority.pem"
        self._context = _server_context(directory, self.bundle, self.authority)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"https://localhost:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed: the run is over
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with self._context.wrap_socket(connection, server_side=True) as tls, tls.makefile("rb") as stream:
                while stream.readline():
                    headers = {}
                    while (header := stream.readline().strip()) != b"":
                        name, _, value = header.decode().partition(":")
                        headers[name.lower()] = value.strip()
                    body = stream.read(int(headers.get("content-length", "0")))
                    kind, text = self._answer(headers, body)
                    tls.sendall(
                        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nx-amzn-RequestId: 0\r\n"
                        f"Content-Length: {len(text)}\r\n\r\n".encode()
                        + text
                    )
        except (OSError, ssl.SSLError):  # the process at the other end was stopped
            pass

    def _answer(self, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        if "x-amz-target" in headers:
            _, _, operation = headers["x-amz-target"].partition(".")
            parameters = json.loads(body)
        else:
            parameters = dict(urllib.parse.parse_qsl(body.decode()))
            operation = parameters["Action"]
        self.calls.append(operation)
        self.on_call(operation)
        answer: tuple[str, bytes] = getattr(self, xform_name(operation))(parameters)
        return answer

    def describe_listeners(self, _: dict[str, str]) -> tuple[str, bytes]:
        return _elb("DescribeListeners", f"<Listeners>{self._listener()}</Listeners>")

    def describe_rules(self, _: dict[str, str]) -> tuple[str, bytes]:
        return _elb("DescribeRules", "<Rules/>")

    def describe_target_groups(self, parameters: dict[str, str]) -> tuple[str, bytes]:
        groups = [value for name, value in parameters.items() if name.startswith("TargetGroupArns.")]
        return _elb(
            "DescribeTargetGroups",
            "<TargetGroups>"
            + "".join(
                f"<member><TargetGroupArn>{group}</TargetGroupArn><Protocol>TCP</Protocol><Port>443</Port>"
                f"<TargetType>{'alb' if group == SORRY else 'instance'}</TargetType>"
                f"<LoadBalancerArns><member>{LOAD_BALANCER}</member></LoadBalancerArns></member>"
                for group in groups
            )
            + "</TargetGroups>",
        )

    def describe_target_health(self, parameters: dict[str, str]) -> tuple[str, bytes]:
        if parameters["TargetGroupArn"] == SORRY:
            targets = [(f"{_ELB}:loadbalancer/app/shop-sorry/4ddd1e1f7b6e8f4a", "healthy", "")]
        else:  # the health checks of an instance that is stopping have not failed yet
            targets = [(instance, "healthy", "") for instance in INSTANCES]
        return _elb(
            "DescribeTargetHealth",
            "<TargetHealthDescriptions>"
            + "".join(
                f"<member><HealthCheckPort>443</HealthCheckPort><Target><Id>{name}</Id><Port>443</Port></Target>"
                f"<TargetHealth><State>{state}</State>{reason}</TargetHealth></member>"
                for name, state, reason in targets
            )
            + "</TargetHealthDescriptions>",
        )

    def modify_listener(self, parameters: dict[str, str]) -> tuple[str, bytes]:
        prefix = "DefaultActions.member.1.ForwardConfig.TargetGroups.member."
        self.weights = {
            parameters[f"{prefix}{n}.TargetGroupArn"]: int(parameters.get(f"{prefix}{n}.Weight", 1))
            for n in (1, 2)
            if f"{prefix}{n}.TargetGroupArn" in parameters
        } or {parameters["DefaultActions.member.1.TargetGroupArn"]: 1}
        return _elb("ModifyListener", f"<Listeners>{self._listener()}</Listeners>")

    def describe_instances(self, _: dict[str, str]) -> tuple[str, bytes]:
        code, name = (16, "running") if self.primary == "healthy" else (64, "stopping")
        return _ec2(
            "DescribeInstances",
            "<reservationSet>"
            + "".join(
                f"<item><instancesSet><item><instanceId>{instance}</instanceId>"
                f"<instanceState><code>{code}</code><name>{name}</name></instanceState></item></instancesSet></item>"
                for instance in INSTANCES
            )
            + "</reservationSet>",
        )

    def describe_instance_status(self, _: dict[str, str]) -> tuple[str, bytes]:
        code, name = (16, "running") if self.primary == "healthy" else (64, "stopping")
        return _ec2(
            "DescribeInstanceStatus",
            "<instanceStatusSet>"
            + "".join(
                f"<item><instanceId>{instance}</instanceId><instanceState><code>{code}</code><name>{name}</name>"
                "</instanceState><systemStatus><status>ok</status></systemStatus><instanceStatus><status>ok</status>"
                "</instanceStatus></item>"
                for instance in INSTANCES
            )
            + "</instanceStatusSet>",
        )

    def describe_alarms(self, parameters: dict[str, Any]) -> tuple[str, bytes]:
        since = time.time() - 3600
        return _json(
            MetricAlarms=[
                {
                    "AlarmName": name,
                    "StateValue": "OK",
                    "StateUpdatedTimestamp": since,
                    "StateTransitionedTimestamp": since,
                }
                for name in parameters["AlarmNames"]
            ]
        )

    def get_parameter(self, parameters: dict[str, Any]) -> tuple[str, bytes]:
        written, name = time.time() - 3600, parameters["Name"]
        known = {"sorry page": "on"} if self.weights.get(SORRY) else {}
        value = json.dumps({"known": known, "at": "2026-01-01T00:00:00Z"}) if "/told/" in name else "off"
        return _json(Parameter={"Name": name, "Value": value, "Version": self._versions, "LastModifiedDate": written})

    def put_parameter(self, _: dict[str, Any]) -> tuple[str, bytes]:
        self._versions += 1
        return _json(Version=self._versions)

    def get_topic_attributes(self, _: dict[str, str]) -> tuple[str, bytes]:
        return _query("GetTopicAttributes", "http://sns.amazonaws.com/doc/2010-03-31/", "<Attributes/>")

    def publish(self, _: dict[str, str]) -> tuple[str, bytes]:
        return _query("Publish", "http://sns.amazonaws.com/doc/2010-03-31/", "<MessageId>0</MessageId>")

    def _listener(self) -> str:
        groups = "".join(
            f"<member><TargetGroupArn>{group}</TargetGroupArn><Weight>{weight}</Weight></member>"
            for group, weight in self.weights.items()
        )
        return (
            f"<member><ListenerArn>{LISTENER}</ListenerArn>"
            f"<LoadBalancerArn>{LOAD_BALANCER}</LoadBalancerArn>"
            "<Protocol>TCP</Protocol><Port>443</Port><DefaultActions><member><Type>forward</Type>"
            f"<ForwardConfig><TargetGroups>{groups}</TargetGroups></ForwardConfig></member></DefaultActions></member>"
        )


def _json(**answer: object) -> tuple[str, bytes]:
    return "application/x-amz-json-1.1", json.dumps(answer).encode()


def _query(operation: str, namespace: str, result: str) -> tuple[str, bytes]:
    text = (
        f'<{operation}Response xmlns="{namespace}"><{operation}Result>{result}</{operation}Result>'
        f"<ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></{operation}Response>"
    )
    return "text/xml", text.encode()


def _elb(operation: str, result: str) -> tuple[str, bytes]:
    return _query(operation, "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/", result)


def _ec2(operation: str, result: str) -> tuple[str, bytes]:
    text = (
        f'<{operation}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>0</requestId>'
        f"{result}</{operation}Response>"
    )
    return "text/xml", text.encode()


def _server_context(directory: Path, bundle: Path, root: Path) -> ssl.SSLContext:
    """Make an authority and its certificate for localhost; write its root, and the public bundle that trusts it too."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kirikae benchmark authority")])
    now = datetime.datetime.now(datetime.UTC)

    def builder(name: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    authority = (
        builder(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        builder(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")]), key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "certificate.pem").write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public = Path(botocore.httpsession.DEFAULT_CA_BUNDLE).read_bytes()
    root.write_bytes(authority.public_bytes(pem))
    bundle.write_bytes(public + b"\n" + root.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate.pem")
    return context
