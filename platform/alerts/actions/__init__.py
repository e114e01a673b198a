"""Everything that writes alerts.

alerts        raised, acknowledged, resolved; the secret that webhooks are signed with
deliveries    who is to be told of what: the queue of messages
"""

from alerts.actions.alerts import (
    alert_acknowledge,
    alert_raise,
    alert_resolve,
    alert_reword,
    alerts_resolve,
    webhook_secret_rotate,
)

__all__ = [
    "alert_acknowledge",
    "alert_raise",
    "alert_resolve",
    "alert_reword",
    "alerts_resolve",
    "webhook_secret_rotate",
]
