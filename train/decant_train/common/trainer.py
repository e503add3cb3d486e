"""The four steps of every training run.

prepare()                     device, first weights, optimizer, state to resume
while not done():
    step()                    one optimizer step, or one epoch
    validate()                where validation_due()
    record()                  the line of the log
    save()                    where save_due()
close()
"""

from abc import ABC, abstractmethod


class Trainer(ABC):
    """A training run. Subclasses say what a step is and when validation and saving are due."""

    def run(self) -> None:
        """Train until ``done()``, from top to bottom."""
        self.prepare()
        while not self.done():
            self.step()
            if self.validation_due():
                self.validate()
            self.record()
            if self.save_due():
                self.save()
        self.close()

    @abstractmethod
    def prepare(self) -> None:
        """Set up everything that steps need."""

    @abstractmethod
    def step(self) -> None:
        """Train for one step and count it."""

    @abstractmethod
    def validate(self) -> None:
        """Measure the network on pictures that it was not trained on."""

    @abstractmethod
    def save(self) -> None:
        """Write what is needed to use the network and to resume."""

    @abstractmethod
    def done(self) -> bool:
        """Whether the run is at its end."""

    @abstractmethod
    def validation_due(self) -> bool:
        """Whether to validate after this step."""

    @abstractmethod
    def save_due(self) -> bool:
        """Whether to save after this step."""

    def record(self) -> None:  # noqa: B027 (a run may have no log)
        """Write the log after a step."""

    def close(self) -> None:  # noqa: B027
        """Settle the results at the end."""
