"""What a program needs to call a service: where, how it is installed, and a first question that has an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from catalog.models import Service
from common.errors import RecallError
from console.snippets import Endpoint, Item, Question
from tenants.permissions import Caller
from versions.queries import items_get, recall

TOP_K = 10
ATTRIBUTES_SHOWN_MAX = 3
# float32 has about seven significant digits.
VECTOR_DECIMALS = 6
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
# A page does not wait for a gateway that hangs: without an answer the example is made up.
EXAMPLE_DEADLINE_MS = 500
BY_ITEM, BY_VECTOR = "item", "vector"

# Tried together with Maven 3.8.7: `mvn compile` generates the stubs of our proto, and our snippet compiles with them.
GRPC_JAVA, PROTOBUF_JAVA, ANNOTATIONS, PROTOBUF_PLUGIN, OS_PLUGIN = "1.68.1", "3.25.5", "6.0.53", "0.6.1", "1.7.1"
POM = f"""\
<dependencies>
  <dependency><groupId>io.grpc</groupId><artifactId>grpc-netty-shaded</artifactId><version>{GRPC_JAVA}</version></dependency>
  <dependency><groupId>io.grpc</groupId><artifactId>grpc-protobuf</artifactId><version>{GRPC_JAVA}</version></dependency>
  <dependency><groupId>io.grpc</groupId><artifactId>grpc-stub</artifactId><version>{GRPC_JAVA}</version></dependency>
  <dependency>
    <groupId>com.google.protobuf</groupId><artifactId>protobuf-java</artifactId><version>{PROTOBUF_JAVA}</version>
  </dependency>
  <dependency>
    <groupId>org.apache.tomcat</groupId><artifactId>annotations-api</artifactId><version>{ANNOTATIONS}</version>
    <scope>provided</scope>
  </dependency>
</dependencies>
<build>
  <extensions>
    <extension>
      <groupId>kr.motd.maven</groupId><artifactId>os-maven-plugin</artifactId><version>{OS_PLUGIN}</version>
    </extension>
  </extensions>
  <plugins>
    <plugin>
      <groupId>org.xolstice.maven.plugins</groupId><artifactId>protobuf-maven-plugin</artifactId>
      <version>{PROTOBUF_PLUGIN}</version>
      <configuration>
        <protocArtifact>com.google.protobuf:protoc:{PROTOBUF_JAVA}:exe:${{os.detected.classifier}}</protocArtifact>
        <pluginId>grpc-java</pluginId>
        <pluginArtifact>io.grpc:protoc-gen-grpc-java:{GRPC_JAVA}:exe:${{os.detected.classifier}}</pluginArtifact>
      </configuration>
      <executions><execution><goals><goal>compile</goal><goal>compile-custom</goal></goals></execution></executions>
    </plugin>
  </plugins>
</build>
"""


@dataclass(frozen=True)
class Install:
    """How a language gets what its snippet needs: in words, and as text to be copied."""

    words: str
    text: str = ""


@dataclass(frozen=True)
class Example:
    """`is_real`: the question names an item of the live version; else its vector is only of the right dimension."""

    question: Question
    is_real: bool


def endpoint_of(request: HttpRequest, service: Service, schema: Mapping[str, Any]) -> Endpoint:
    """Where `service` is asked; `schema` is the registered one, or that of the version which is asked."""
    return Endpoint(
        tenant=service.tenant.name,
        service=service.name,
        gateway=settings.GATEWAY_ADDRESS,
        api_url=request.build_absolute_uri("/api/v1"),
        has_text_ids=schema["id_type"] == "string",
    )


def is_only_here(request: HttpRequest, endpoint: Endpoint) -> bool:
    """Whether the gateway's address means nothing on the machine of somebody who reads this from afar."""
    gateway, console = endpoint.gateway.rpartition(":")[0], request.get_host().rpartition(":")[0] or request.get_host()
    return gateway in LOOPBACK and console not in LOOPBACK


def installs(request: HttpRequest) -> Mapping[str, Install]:
    """By the name of a language of `console.snippets`."""
    client, proto = (
        request.build_absolute_uri(reverse(f"console:{name}")) for name in ("client-python", "client-proto")
    )
    key = "export RECALL_API_KEY='rk_...'\n"
    return {
        "python": Install("Python 3.9 or newer.", f"pip install {client}\n{key}"),
        "java": Install(
            "Our proto, from which Maven makes the stubs, and grpc-java. Into the pom.xml:",
            f"curl --create-dirs -o src/main/proto/recallpb/v1/recall.proto {proto}\n{key}",
        ),
        "grpcurl": Install("grpcurl reads the messages' shape from the gateway's reflection.", key),
        "cli": Install(
            "The program `recall` comes with the platform.",
            f"export RECALL_API_URL={request.build_absolute_uri('/').rstrip('/')}\n{key}",
        ),
        "curl": Install("Nothing but curl. REST is for trying and for tools; programs that need speed use gRPC.", key),
    }


def example_of(caller: Caller, service: Service, by: str) -> Example:
    """A question that the live version answers; without one, or with the gateway away, of the right dimension."""
    attributes = tuple(each["name"] for each in service.spec["schema"]["attributes"][:ATTRIBUTES_SHOWN_MAX])
    unit = (1.0, *(0.0 for _ in range(service.spec["schema"]["dimension"] - 1)))
    made_up = Example(Question(vectors=(unit,), top_k=TOP_K, attributes=attributes), is_real=False)
    if service.live_version is None:
        return made_up
    try:
        item = _some_item(caller, service, unit)
        if item is None:
            return made_up
        if by == BY_ITEM:
            return Example(Question(items=(Item(item),), top_k=TOP_K, attributes=attributes), is_real=True)
        vector = _vector_of(caller, service, item)
    except RecallError:
        # The page says beside its example that nothing answers now; how to connect is the same.
        return made_up
    return Example(Question(vectors=(vector,), top_k=TOP_K, attributes=attributes), is_real=True)


def _some_item(caller: Caller, service: Service, unit: tuple[float, ...]) -> int | str | None:
    """The item that is nearest to a vector of length 1; None when nothing may be an answer."""
    answer = recall(
        caller=caller, service=service, request={"vectors": [list(unit)], "top_k": 1}, deadline_ms=EXAMPLE_DEADLINE_MS
    )
    if _has_text_ids(service):
        return next(iter(map(str, answer["text_ids"])), None)
    return next(iter(map(int, answer["ids"])), None)


def _vector_of(caller: Caller, service: Service, item: int | str) -> tuple[float, ...]:
    ids: dict[str, Any] = {"text_ids": [item]} if isinstance(item, str) else {"ids": [item]}
    asked = {"items": ids, "return_vectors": True}
    answer = items_get(caller=caller, service=service, request=asked, deadline_ms=EXAMPLE_DEADLINE_MS)
    return tuple(round(value, VECTOR_DECIMALS) for value in answer["vectors"][0]["values"]["values"])


def _has_text_ids(service: Service) -> bool:
    return bool(service.spec["schema"]["id_type"] == "string")
