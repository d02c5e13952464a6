"""A turn-based superhero combat that logs what happens, with Python's logging and nothing else.

It draws with a generator of its own: the same numbers and seed give the same games.
"""

import datetime
import itertools
import logging
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

SEATS = 4  # players of a game; a single one left over joins the last game
HEALTH = 100
FIRST = "Night Iron Thunder Crimson Silent Golden Atomic Frozen Shadow Solar Velvet Turbo".split()
SECOND = "Falcon Panther Comet Mantis Phoenix Badger Oracle Ranger Titan Viper Wombat Ghost".split()

lobby = logging.getLogger("arena.lobby")
combat = logging.getLogger("arena.combat")


@dataclass
class Fighter:
    """A player in a game, and how far they came."""

    player: int
    hero: str
    health: int = HEALTH
    rounds: int = 0  # played, including the one in which they fell
    dealt: int = 0
    taken: int = 0


@dataclass
class Game:
    """A game, once it is over: its fighters, the winner first."""

    number: int
    rounds: int
    podium: list[Fighter]


class Arena:
    """All games of an evening, one after the other.

    `logged` counts the records by channel: a sink must have as many in the end. Each record carries
    `run`, since the next evening has a game 1 too.
    """

    def __init__(self, players: int, rounds: int, seed: int, turn_seconds: float) -> None:
        self.rounds, self.turn_seconds = rounds, turn_seconds
        self.logged: Counter[str] = Counter()
        self.run = f"{datetime.datetime.now():%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
        self._random = random.Random(seed)
        names = list(map(" ".join, itertools.product(FIRST, SECOND)))
        self._random.shuffle(names)
        laps = ((name, lap) for lap in itertools.count(1) for name in names)
        heroes = (name if lap == 1 else f"{name} {lap}" for name, lap in laps)
        fighters = [Fighter(number, next(heroes)) for number in range(1, players + 1)]
        self.groups = [fighters[at : at + SEATS] for at in range(0, players, SEATS)]
        if len(self.groups) > 1 and len(self.groups[-1]) == 1:
            self.groups[-2] += self.groups.pop()

    def play(self) -> Iterator[Game]:
        """Play the games; yield each when it is over."""
        for number, fighters in enumerate(self.groups, 1):
            for one in fighters:
                joined = {"game": number, "player": one.player, "hero": one.hero}
                self._log(lobby, f"{one.hero} joins game {number}", "joined", **joined)
            seats = len(fighters)
            self._log(lobby, f"Game {number} begins", "started", game=number, seats=seats)
            yield self._fight(number, fighters)

    def _fight(self, number: int, fighters: list[Fighter]) -> Game:
        for round in range(1, self.rounds + 1):
            for one in fighters:
                others = [other for other in fighters if other.health and other is not one]
                if one.health and others:
                    self._turn(number, round, one, self._random.choice(others))
            if sum(one.health > 0 for one in fighters) == 1:
                break
        podium = sorted(fighters, key=lambda one: (-one.health, -one.rounds, -one.dealt))
        for rank, one in enumerate(podium, 1):
            place = {"game": number, "player": one.player, "rounds": one.rounds, "rank": rank}
            self._log(combat, f"{one.hero} is number {rank} of game {number}", "placed", **place)
        return Game(number, round, podium)

    def _turn(self, number: int, round: int, one: Fighter, other: Fighter) -> None:
        if self.turn_seconds:
            time.sleep(self.turn_seconds)
        damage = min(self._random.randint(8, 30), other.health)
        other.health -= damage
        one.dealt += damage
        other.taken += damage
        one.rounds = other.rounds = round
        hit = {"game": number, "round": round, "player": one.player, "target": other.player}
        hit["damage"] = damage
        self._log(combat, f"{one.hero} hits {other.hero}: {damage}", "hit", **hit)

    def _log(self, logger: logging.Logger, message: str, event: str, **fields) -> None:
        logger.info(message, extra={"event": event, "run": self.run, **fields})
        self.logged[logger.name.rpartition(".")[2]] += 1
