"""The clients of a tower that is killed (crash.py), and what each of them has been promised."""

import dataclasses
import http.client
import random
import threading
import time

from . import secp
from .bitcoin import Breach, display
from .programs import SLOW
from .teos import CURRENT, LEGACY, Client, Refused, locator, seal, slots


class Broken(AssertionError):
    """A promise was not kept."""


@dataclasses.dataclass(eq=False)
class Version:
    """One request to store an appointment."""

    appointment: "Appointment"
    blob: bytes
    penalty: bytes | None  # txid; None: there is none in the blob

    @property
    def slots(self):
        return slots(len(self.blob))


@dataclasses.dataclass(eq=False)
class Appointment:
    user: "User"
    txid: bytes
    valid: bool
    answered: Version | None = None
    unanswered: list = dataclasses.field(default_factory=list)  # after the answered one

    @property
    def possible(self):
        return ([self.answered] if self.answered else []) + self.unanswered


class User(threading.Thread):
    """A client with one key, one request at a time.  What it knows may be read while it is paused."""

    def __init__(self, crash, number):
        super().__init__(daemon=True)
        self.crash = crash
        self.rng = random.Random(f"user {number} {crash.seed}")
        generation = LEGACY if number % 2 else CURRENT
        self.client = Client("127.0.0.1", 0, self.rng.randrange(1, secp.N), generation)
        self.client.timeout = 10 * SLOW
        self.granted = self.maybe_granted = 0  # registrations
        self.answered_cnt = self.unanswered_cnt = 0
        self.appointments = {}  # dispute txid -> Appointment
        self.error = None
        self.pausing, self.paused, self.ending = threading.Event(), threading.Event(), False

    @property
    def uid(self):
        return self.client.user_id

    def run(self):
        try:
            while not self.ending:
                if self.pausing.is_set() or self.crash.tower.port is None:
                    if self.pausing.is_set():
                        self.paused.set()
                    time.sleep(0.01)
                    continue
                self.client.port = self.crash.tower.port
                self._act()
        except BaseException as error:  # looked at by the main thread
            self.error = error
        self.paused.set()

    def pause(self):
        self.paused.clear()
        self.pausing.set()

    def resume(self):
        self.pausing.clear()

    def _act(self):
        if self.granted == 0:
            self._register()
            return
        action = self.rng.choices(
            (self._add, self._change, self._late, self._invalid, self._read, self._register),
            (10, 5, 1.5, 2, 4, 0.7),
        )[0]
        action()

    def _ask(self, call, *args):
        """(answered, reply).  A refusal is an answer unless it is 503; None: the request was never made."""
        try:
            reply = call(*args)
        except ConnectionRefusedError:
            time.sleep(0.02)
            return None, None
        except (OSError, http.client.HTTPException):
            self.unanswered_cnt += 1
            return False, None
        except Refused as refusal:
            if refusal.status != 503:
                return True, refusal
            self.unanswered_cnt += 1
            time.sleep(0.02)
            return False, None
        self.answered_cnt += 1
        return True, reply

    def _register(self):
        answered, reply = self._ask(self.client.register)
        if answered is None:
            return
        if isinstance(reply, Refused):
            raise Broken(f"a registration was refused: {reply}")
        if answered:
            self.granted += 1
        else:
            self.maybe_granted += 1

    def _store(self, appointment, blob, penalty):
        version = Version(appointment, blob, penalty)
        self.crash.know(version)
        answered, reply = self._ask(self.client.add, locator(appointment.txid, self.client.form), blob)
        if answered is None:
            return
        if isinstance(reply, Refused):
            if "slots" in str(reply):
                self._register()
            elif not self.crash.was_mined(appointment.txid):
                raise Broken(f"an appointment for a dispute in no block was refused: {reply}")
        elif answered:
            appointment.answered, appointment.unanswered = version, []
        else:
            appointment.unanswered.append(version)

    def _store_penalty(self, appointment):
        penalty = Breach.penalty_for(self.rng, appointment.txid)
        # Up to three slots.
        penalty.witness[0][2] = self.rng.randbytes(self.rng.choice((77, 77, 500, 2500, 5000)))
        self.crash.know_penalty(penalty, appointment.txid)
        raw = penalty.serialize()
        self._store(appointment, seal(raw, appointment.txid, self.client.form), penalty.txid)

    def _of(self, txid, valid=True):
        made = self.appointments.get(txid)
        if made is None:
            made = self.appointments[txid] = Appointment(self, txid, valid)
        return made if made.valid == valid else None

    def _add(self):
        appointment = self._of(self.crash.dispute(self.rng))
        if appointment is not None:
            self._store_penalty(appointment)

    def _change(self):
        waiting = [a for t, a in list(self.appointments.items())[-60:] if a.valid and not self.crash.was_mined(t)]
        if waiting:
            self._store_penalty(self.rng.choice(waiting))

    def _late(self):
        txid = self.crash.recent_dispute(self.rng)
        if txid is not None and txid not in self.appointments:
            self._store_penalty(self._of(txid))

    def _invalid(self):
        appointment = self._of(self.crash.dispute(self.rng), valid=False)
        if appointment is not None and not appointment.possible:
            self._store(appointment, self.rng.randbytes(self.rng.randint(20, 300)), None)

    def _read(self):
        """What was answered can be read at once, also when vigild has died in between."""
        kept = [a for a in list(self.appointments.values())[-20:] if a.valid and a.answered]
        if not kept:
            return
        appointment = self.rng.choice(kept)
        answered, reply = self._ask(self.client.get, locator(appointment.txid, self.client.form))
        if isinstance(reply, Refused):
            if any(self.crash.was_mined(v.penalty) for v in appointment.possible):
                return  # it may be buried
            raise Broken(f"appointment {display(appointment.txid)} was promised and cannot be read: {reply}")
        if answered and reply["status"] == "being_watched":
            blob = bytes.fromhex(reply["appointment"]["encrypted_blob"])
            if blob not in [v.blob for v in appointment.possible]:
                raise Broken(f"appointment {display(appointment.txid)} is not the one that was promised")
