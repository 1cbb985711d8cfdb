"""The challenger: finds what a guard posted and is false, and shows it to the chain.

docs/spec/challenge.md. Everything is derived again from the chain and the committed bytes.
"""

from trainer.challenger.account import funded_local_account
from trainer.challenger.errors import ChallengerError, JournalError, NoChallengesError
from trainer.challenger.examine import Claim, Examiner, Falsehood, Field
from trainer.challenger.journal import ChallengeJournal
from trainer.challenger.rounds import SettledRound, settled_rounds
from trainer.challenger.watch import Challenger, Outcome, PassReport, Price, State, Trouble

__all__ = [
    "ChallengeJournal",
    "Challenger",
    "ChallengerError",
    "Claim",
    "Examiner",
    "Falsehood",
    "Field",
    "JournalError",
    "NoChallengesError",
    "Outcome",
    "PassReport",
    "Price",
    "SettledRound",
    "State",
    "Trouble",
    "funded_local_account",
    "settled_rounds",
]
