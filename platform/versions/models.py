"""Builds, the versions they make, the replicas that serve them, and the switches between them."""

from __future__ import annotations

from django.db import models

from catalog.models import Service
from tenants.scoping import TenantScoped
from versions import states

# Of a column for positive whole numbers on every database.
VERSION_NUMBER_MAX = 2**31 - 1


class PlatformState(models.Model):
    """One row. `epoch` rises when a database is restored, so that its documents win over younger ones in Redis."""

    epoch = models.PositiveIntegerField(default=1)

    def __str__(self) -> str:
        return f"epoch {self.epoch}"


class Build(TenantScoped):
    """One run that turns a drop into a version. The row is the truth; Celery's message is only a doorbell.

    A worker claims the row by raising `fence` and writing `lease_until`; every later write names the fence, so that a
    worker that lost its lease can write nothing. A step that waits sets `wake_at` and frees the lease.
    """

    tenant_path = "service__tenant"

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="builds")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=states.BuildState.choices, default=states.BuildState.PENDING)
    # The spec as it was when the build was asked for.
    spec = models.JSONField()
    spec_generation = models.PositiveIntegerField()
    # Empty: the newest complete one.
    drop_name = models.CharField(max_length=255, blank=True)
    drop_fingerprint = models.CharField(max_length=64, blank=True)
    drop = models.JSONField(default=dict)
    # Builds even what was built before.
    force = models.BooleanField(default=False)
    version_number = models.PositiveIntegerField(null=True, blank=True)
    # Where the artifact is made; contains the fence, so that two workers never share a folder.
    work_dir = models.CharField(max_length=500, blank=True)
    report = models.JSONField(default=dict)
    # Values that one step leaves for later ones, beside the files in work_dir.
    context = models.JSONField(default=dict)

    fence = models.PositiveIntegerField(default=0)
    lease_owner = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    # How often a worker died in the present step; each time is one lease that ended unrenewed.
    crashes = models.PositiveSmallIntegerField(default=0)
    wake_at = models.DateTimeField(null=True, blank=True)
    # It waits for its group and takes no place among the builds that its tenant may run at once.
    parked = models.BooleanField(default=False)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    # What an operator let pass, and why: {step: {reason of the hold: why}}.
    overrides = models.JSONField(default=dict)

    error_reason = models.CharField(max_length=100, blank=True)
    error_owner = models.CharField(max_length=10, blank=True)
    error_message = models.TextField(blank=True)

    requested_by = models.CharField(max_length=150)
    requested_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["service", "number"], name="build_number_once_per_service")]
        indexes = [models.Index(fields=["state", "wake_at"], name="build_due")]

    def __str__(self) -> str:
        return f"{self.service} build {self.number}"


class BuildStep(models.Model):
    """One step of one build: what the page shows and where a retry goes on."""

    build = models.ForeignKey(Build, on_delete=models.CASCADE, related_name="steps")
    name = models.CharField(max_length=40)
    position = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=10, choices=states.StepState.choices, default=states.StepState.PENDING)
    # 0 to 1; null when the step cannot tell.
    progress = models.FloatField(null=True, blank=True)
    rate = models.FloatField(null=True, blank=True)
    eta_seconds = models.FloatField(null=True, blank=True)
    detail = models.CharField(max_length=500, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["build", "name"], name="step_once_per_build")]

    def __str__(self) -> str:
        return f"{self.build}: {self.name}"


class BuildLine(models.Model):
    """One line of what a build says of itself, for people; the newest few hundred are kept with the build."""

    build = models.ForeignKey(Build, on_delete=models.CASCADE, related_name="lines")
    at = models.DateTimeField(auto_now_add=True)
    # Empty: it is about the build as a whole.
    step = models.CharField(max_length=40, blank=True)
    level = models.CharField(max_length=10, choices=states.LineLevel.choices, default=states.LineLevel.INFO)
    text = models.CharField(max_length=500)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.build}: {self.text}"


class Version(TenantScoped):
    """The result of a build. Once READY, what it answers by (files, spec, parameters) never changes.

    What changes is what becomes of it: how quick it is when warm, whether it was live, is bad, cold, on its way out.
    """

    tenant_path = "service__tenant"

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    build = models.ForeignKey(Build, on_delete=models.PROTECT, related_name="versions")
    state = models.CharField(max_length=10, choices=states.VersionState.choices, default=states.VersionState.BUILDING)
    spec = models.JSONField()
    engine = models.CharField(max_length=40, blank=True)
    engine_params = models.JSONField(default=dict)
    search_params = models.JSONField(default=dict)
    model_version = models.CharField(max_length=200, blank=True)
    items = models.PositiveBigIntegerField(default=0)
    searchable_items = models.PositiveBigIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    artifact = models.CharField(max_length=500, blank=True)
    manifest_sha256 = models.CharField(max_length=64, blank=True)
    recall = models.FloatField(null=True, blank=True)
    p99_ms = models.FloatField(null=True, blank=True)
    report = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150)
    completed_at = models.DateTimeField(null=True, blank=True)
    # Was it ever live, and did somebody roll back from it.
    activated_at = models.DateTimeField(null=True, blank=True)
    bad_at = models.DateTimeField(null=True, blank=True)
    bad_reason = models.CharField(max_length=500, blank=True)
    # Since when it is kept unloaded, to be loaded before it serves again; null: hot.
    cold_at = models.DateTimeField(null=True, blank=True)
    # When retirement began (it left the routes), when no gateway routed to it any more, when its files were deleted.
    retiring_at = models.DateTimeField(null=True, blank=True)
    unrouted_at = models.DateTimeField(null=True, blank=True)
    files_deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["service", "number"], name="version_number_once_per_service")]

    def __str__(self) -> str:
        return f"{self.service} version {self.number}"


class VersionComparison(TenantScoped):
    """What a worker found when it compared the files of two versions of one service. The row is the queue.

    Versions never change, so neither does a result; it outlives their files. `version` is the newer one.
    """

    tenant_path = "version__service__tenant"

    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="comparisons")
    other = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="comparisons_beside")
    state = models.CharField(
        max_length=10, choices=states.ComparisonState.choices, default=states.ComparisonState.ASKED
    )
    asked_at = models.DateTimeField()
    # How often a worker took it, and until when the last one may be at it.
    takes = models.PositiveSmallIntegerField(default=0)
    taken_until = models.DateTimeField(null=True, blank=True)
    # 0 to 1 of what is being done; null when nothing is.
    progress = models.FloatField(null=True, blank=True)
    # As workers.children.version_comparing tells it, or why there is none.
    result = models.JSONField(default=dict)
    problem_reason = models.CharField(max_length=100, blank=True)
    problem = models.TextField(blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "other"], name="comparison_once_per_pair")]
        indexes = [models.Index(fields=["state", "asked_at"], name="comparison_queue")]

    def __str__(self) -> str:
        return f"{self.version} beside {self.other}"


class Projection(TenantScoped):
    """A sample of a version's items on a plane, for people to look at: written with the version, gone with its files.

    A row and no file of the artifact: the console reads no artifacts, and replicas read all of them.
    """

    tenant_path = "version__service__tenant"

    version = models.OneToOneField(Version, on_delete=models.CASCADE, related_name="projection")
    # {"items", "of", "shown": [2], "ids", "x", "y", "attributes": [{"name", "values"}]}, a value for each item.
    sample = models.JSONField()
    # {"mean": [d], "axes": [[d], [d]], "reach"}: where other vectors of the version lie on it.
    plane = models.JSONField()

    def __str__(self) -> str:
        return f"projection of {self.version}"


class SourceWatch(TenantScoped):
    """What the watcher knows of the source of one service; made by the first tick after the service."""

    tenant_path = "service__tenant"

    service = models.OneToOneField(Service, on_delete=models.CASCADE, related_name="watch")
    began_at = models.DateTimeField()
    # Whoever looks takes the row by moving this, so that of two workers one looks.
    next_look_at = models.DateTimeField(db_index=True)
    looked_at = models.DateTimeField(null=True, blank=True)
    # Why no complete drop was found by the last look.
    problem = models.CharField(max_length=500, blank=True)
    # The newest complete drop, and since when it is known.
    drop_name = models.CharField(max_length=255, blank=True)
    drop_fingerprint = models.CharField(max_length=64, blank=True)
    drop_seen_at = models.DateTimeField(null=True, blank=True)
    # A bad drop that was seen once; seen again it is the newest.
    suspect = models.CharField(max_length=64, blank=True)
    # The drop and spec for which the watcher asked for a build last.
    requested = models.CharField(max_length=64, blank=True)
    # The expression that `due_at` was computed by.
    cron = models.CharField(max_length=100, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    # Since when the alert drop.late stands.
    late_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.service} source"


class Node(models.Model):
    """A host of the data plane, known from its agent's reports."""

    name = models.CharField(max_length=63, unique=True)
    cpu_count = models.PositiveIntegerField(default=0)
    memory_total_bytes = models.PositiveBigIntegerField(default=0)
    memory_available_bytes = models.PositiveBigIntegerField(default=0)
    # Rises with each change of the node's placements.
    placements_generation = models.PositiveBigIntegerField(default=0)
    seen_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Replica(TenantScoped):
    """One version loaded on one node. `orders` are what the agent shall do with it, `results` what came of them."""

    tenant_path = "version__service__tenant"

    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="replicas")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="replicas")
    state = models.CharField(max_length=10, choices=states.ReplicaState.choices, default=states.ReplicaState.WANTED)
    address = models.CharField(max_length=255, blank=True)
    # [{"order_id", "kind": "WARM" | "CHECK"}, or with "beside", "beside_version" and "top_k" for "COMPARE"]
    orders = models.JSONField(default=list)
    # {order_id: the fields of OrderResult but its id}
    results = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    items = models.PositiveBigIntegerField(default=0)
    rss_bytes = models.PositiveBigIntegerField(default=0)
    respawns = models.PositiveIntegerField(default=0)
    changed_at = models.DateTimeField(auto_now=True)
    # What the last audit showed; `served_version` is what the process says it serves.
    verdict = models.CharField(max_length=10, choices=states.Verdict.choices, blank=True)
    agreement = models.FloatField(null=True, blank=True)
    p99_ms = models.FloatField(null=True, blank=True)
    served_version = models.PositiveIntegerField(null=True, blank=True)
    audited_at = models.DateTimeField(null=True, blank=True)
    # The verdict that made it sick; empty when it is well. A withheld replica is in no route: it is sick, or new in a
    # lost one's place and not checked yet.
    sick_reason = models.CharField(max_length=10, choices=states.Verdict.choices, blank=True)
    sick_since = models.DateTimeField(null=True, blank=True)
    withheld = models.BooleanField(default=False)
    # How often it was restarted, warmed up and checked because it was sick: ever, and one soon after the other.
    cures = models.PositiveIntegerField(default=0)
    cures_in_a_row = models.PositiveSmallIntegerField(default=0)
    cured_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "node"], name="replica_once_per_node")]

    def __str__(self) -> str:
        return f"{self.version} on {self.node}"


class Reload(TenantScoped):
    """One loading of a version that was unloaded as cold standby, and the switch that waits for it (if `kind`)."""

    tenant_path = "service__tenant"

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="reloads")
    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="reloads")
    # Empty: the version is to be hot again, and nothing is switched.
    kind = models.CharField(max_length=10, blank=True, choices=[("activate", "activate"), ("rollback", "rollback")])
    # What was live when it was asked for; when that moves, nothing is switched.
    from_version = models.PositiveIntegerField(null=True, blank=True)
    live_generation = models.PositiveIntegerField()
    actor_kind = models.CharField(max_length=10)
    actor = models.CharField(max_length=150)
    reason = models.CharField(max_length=500, blank=True)
    requested_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    failure = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["service"], condition=models.Q(ended_at__isnull=True), name="reload_open_once_per_service"
            )
        ]

    def __str__(self) -> str:
        return f"reload of {self.version}"


class Activation(TenantScoped):
    """One switch of a live pointer. Complete when every leased gateway serves its generation."""

    tenant_path = "service__tenant"

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="activations")
    kind = models.CharField(max_length=10, choices=[("activate", "activate"), ("rollback", "rollback")])
    from_version = models.PositiveIntegerField(null=True, blank=True)
    to_version = models.PositiveIntegerField()
    # The live_generation that this switch made, and the generation of the route's stamp that carries it.
    live_generation = models.PositiveIntegerField()
    route_generation = models.PositiveBigIntegerField()
    state = models.CharField(
        max_length=10, choices=states.ActivationState.choices, default=states.ActivationState.PENDING
    )
    laggards = models.JSONField(default=list)
    actor = models.CharField(max_length=150)
    # A build switched to what it had made; else somebody decided.
    by_build = models.BooleanField(default=False)
    reason = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField(auto_now_add=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    # No columns: False on the answer of a call that found nothing to change; what happens first, when the version is
    # not loaded (then this is no row yet).
    changed = True
    loading = ""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["service", "live_generation"], name="activation_once_per_generation")
        ]

    def __str__(self) -> str:
        return f"{self.service}: {self.from_version} -> {self.to_version}"


class TrafficSpan(TenantScoped):
    """What callers asked of one service in the span that began `at`, at all gateways together, and its memory then.

    Kept for a day. `codes` and `counts` are calls, by gRPC code and by documents.traffic.LATENCY_SECONDS.
    """

    tenant_path = "service__tenant"

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="traffic")
    at = models.DateTimeField(db_index=True)
    queries = models.PositiveBigIntegerField(default=0)
    codes = models.JSONField(default=dict)
    # Empty: nobody called.
    counts = models.JSONField(default=list)
    # Of all its replicas.
    rss_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["service", "at"], name="traffic_once_per_span")]

    def __str__(self) -> str:
        return f"{self.service} at {self.at:%H:%M:%S}"
