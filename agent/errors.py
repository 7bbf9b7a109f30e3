"""Every error of the outermost layer.

```
AgentError
├─ ApprovalError                verdicts do not fit the edits that wait for them
├─ DemoError                    a run of the demonstration did not end well
├─ OutputFileError              a result cannot be written to its file
└─ SessionsUnavailableError     the cache cannot keep or find sessions now
```
"""

from __future__ import annotations


class AgentError(Exception):
    """Root of all errors of this package."""


class ApprovalError(AgentError):
    """Verdicts do not fit the edits that wait for them."""


class DemoError(AgentError):
    """A run of the demonstration did not end well."""


class OutputFileError(AgentError):
    """A result cannot be written to its file."""


class SessionsUnavailableError(AgentError):
    """The cache cannot keep or find sessions now: it is degraded or switched off."""
