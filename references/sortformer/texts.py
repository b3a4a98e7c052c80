"""Sentences of the meetings. Training uses none of the held-out ones."""

from __future__ import annotations

import numpy as np

TRAINING = (
    "Yes.",
    "No, not yet.",
    "Right.",
    "Okay, go on.",
    "I see.",
    "Exactly.",
    "Maybe later.",
    "Thank you.",
    "What do you mean by that?",
    "Could you say that once more, please?",
    "I think we should begin with the budget for the next quarter.",
    "The numbers from last week look better than anyone expected.",
    "She told me that the train would leave at a quarter past seven.",
    "We have three open questions, and the first one is the hardest.",
    "Nobody has looked at the old machines in the cellar since spring.",
    "Let us move the whole thing to Thursday afternoon.",
    "My sister bought a small blue house near the edge of the forest.",
    "If the weather stays dry, they will finish the roof by Monday.",
    "The second version was slower, but it never lost a single record.",
    "Please write down who is going to call the people in Boston.",
    "He walked along the canal and counted every boat that passed.",
    "There are eleven boxes left, and only four of them are labelled.",
    "I would rather wait for the answer than guess what it might be.",
    "Every morning the baker puts fresh bread into the window.",
    "The contract says thirty days, so we still have some time.",
    "How many of the visitors came back a second time?",
    "It was so cold that the door of the garage would not open.",
    "You can find the map in the drawer under the telephone.",
    "Our neighbours keep a dog, two goats and an angry goose.",
    "The museum closes early today because of the holiday.",
    "They measured the voltage twice and got the same result.",
    "Without a key we will have to climb over the garden wall.",
    "The younger students asked better questions than their teachers.",
    "A large ship was waiting outside the port for high water.",
    "We should thank the cook, who has been here since five o'clock.",
    "Most of the errors come from one very old part of the program.",
    "Did anybody check whether the lights were off?",
    "The orchestra played the slow movement much too fast.",
    "Five hundred metres further on you will see a yellow bridge.",
    "I forgot my umbrella in the office on the fourth floor.",
    "The report is almost done, only the last chapter is missing.",
    "When the music stopped, all the children ran to the gate.",
    "Our supplier has changed its prices again, without telling us.",
    "It takes about forty minutes to cross the valley on foot.",
)

HELD_OUT = (
    "Sure.",
    "Not really.",
    "Good point.",
    "Who said so?",
    "We agree on this, then.",
    "Just a moment.",
    "Before lunch I want to hear about the trip to Lisbon.",
    "The new pump is louder, although it uses half the power.",
    "Could somebody close the window on the left side?",
    "Two of our customers reported the same strange noise.",
    "She planted tomatoes behind the shed, and nothing grew.",
    "The post arrives on Tuesdays and on Fridays up here.",
    "Perhaps the smaller room would be warm enough for everyone.",
    "Between the lake and the railway there is a narrow path.",
    "His uncle repaired clocks for the town hall of Bergen.",
    "The vote was close, and they had to count it three times.",
    "We lost the signal shortly after the tunnel.",
    "Nine chairs and a round table should be delivered tomorrow.",
    "The doctor asked him to sleep more and to argue less.",
    "Which of these drawings shows the kitchen?",
    "I paid for both tickets with the coins from my pocket.",
    "After the storm the beach was covered with brown weed.",
    "That proposal sounds fine, but who pays for the paint?",
    "An owl has been living in the chimney since October.",
)


def passage(sentences: tuple[str, ...], random: np.random.Generator) -> str:
    """One to three sentences, as somebody says them in one turn; short answers come about as often as speeches."""
    count = int(random.choice((1, 1, 1, 2, 2, 3)))
    return " ".join(sentences[index] for index in random.choice(len(sentences), count, replace=False))
