"""`Run`: the texts of one run of the agent, whole and without what must not leave."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cache.clock import Clock, SystemClock
from cache.codecs.json import encode_json
from chains.evidence import why_unsupported
from chains.matching import documents_of
from chains.privacy import PrivateTexts, without_identity
from chains.schemas import Edit


@dataclass(frozen=True)
class Run:
    """The texts of one run; they are handed over with each call and never stored with an agent's messages.

    Attributes:
        resume: the whole resume.
        job: the ad.
        private: both without what tells who somebody is; only these leave.
        user: whose run it is.
        started_s: when it began, on `clock`.
        clock: where the time comes from.
    """

    resume: str
    job: str
    private: PrivateTexts
    user: str | None = None
    clock: Clock = field(default_factory=SystemClock)
    started_s: float = 0.0

    @classmethod
    def of(cls, resume: str, job: str, user: str | None = None, clock: Clock | None = None) -> Run:
        """Begin a run.

        Raises:
            PromptInputError: a text is missing or blank.
        """
        ticking = clock or SystemClock()
        documents = documents_of({"resume": resume, "job": job, "user": user})
        texts = documents[0].text, documents[1].text
        return cls(*texts, without_identity(*texts), user, ticking, ticking.monotonic_s())

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return self.clock.monotonic_s() - self.started_s

    @property
    def scope(self) -> str:
        """Whose results the tools' are: of these texts, of this user and of these versions of the rules."""
        whole = encode_json([self.resume, self.job, self.user])
        return hashlib.sha256(whole).hexdigest()

    def restored(self, edit: Edit) -> Edit:
        """An edit with the words that its placeholders stand for."""
        return Edit(**{name: self.private.restore(value) for name, value in edit.model_dump().items()})

    def hidden(self, edit: Edit) -> Edit:
        """An edit with placeholders for what must not leave."""
        return Edit(**{name: self.private.hide(value) for name, value in edit.model_dump().items()})

    def why_refused(self, edit: Edit) -> str | None:
        """Why the resume does not support an edit, in words that may leave; `None` when it does."""
        if edit.original not in self.private.resume:
            return "the words to be replaced do not stand in the resume"
        why = why_unsupported(self.resume, self.restored(edit))
        return None if why is None else self.private.hide(why)
