"""Words that say nothing about what an English text is about."""

from __future__ import annotations

_ENGLISH = """
    a an the this that these those such same other others another each every either
    neither both all any some none no not nor only own few many much more most less
    least several enough various i me my mine myself we us our ours ourselves you
    your yours yourself he him his himself she her hers herself it its itself they
    them their theirs themselves one ones someone something anyone anything everyone
    everything nothing who whom whose which what when where why how whether and or
    but if then else than so because since while until unless though although as at
    by for in into of off on onto out over per through throughout to toward towards
    under up upon via with within without about above across after again against
    along among around before behind below beneath beside besides between beyond
    down during except inside near outside past am is are was were be been being do
    does did doing done have has had having can could may might must shall should
    will would ought need needs needed get gets got getting go goes going went gone
    make makes made making take takes taken took let lets put puts come comes came
    give gives given gave want wants wanted use uses used using see seen say says
    said know known look looks looking like likely seem seems work works worked
    working try tries tried trying here there now just also too very quite rather
    still yet already always never ever often sometimes usually once twice however
    therefore thus hence instead maybe perhaps even almost really actually well back
    away together later first last next two three four five six seven eight nine ten
    don doesn didn isn aren wasn weren hasn haven hadn cannot won wouldn shouldn
    couldn ll ve re im ive yes ok okay etc eg ie vs thing things way ways lot lots
    bit kind sort good better best new old different able sure from
"""
#: In lower case, with the parts that are left of "doesn't" and "we'll"
STOP_WORDS = frozenset(_ENGLISH.split())
