"""A plugin of llm's with a chat model that says what a script tells it to say.

It stands for a paid model, which no test can call. Everything around it is llm's own.
A step of the script is a text, or calls of tools: pairs of name and arguments. Of each
step it keeps the tools and the results that it was shown.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import llm


class Script:
    """The steps, in an attribute or in the JSON file that CHAT_SCRIPT names."""

    model_id = "scripted-of-the-test"
    supports_tools = True
    can_stream = False

    def __init__(self, steps=()):
        path = os.environ.get("CHAT_SCRIPT")
        self.steps = json.loads(Path(path).read_text()) if path else list(steps)
        self.tools, self.results = [], []

    def say(self, prompt, response):
        self.tools.append({each.name: each for each in prompt.tools})
        self.results.append([each.output for each in prompt.tool_results])
        step = self.steps.pop(0)
        if isinstance(step, str):
            return step
        for number, (name, arguments) in enumerate(step):
            call = llm.ToolCall(name, arguments, f"call-{len(self.steps)}-{number}")
            response.add_tool_call(call)
        return ""

    @property
    def answers(self):
        """The results of all tools, as a model reads them; errors are no JSON."""
        return [_read(each) for results in self.results for each in results]


def _read(output):
    return output if output.startswith("Error: ") else json.loads(output)


class Chat(Script, llm.Model):
    def execute(self, prompt, stream, response, conversation):
        yield self.say(prompt, response)


class AsyncChat(Script, llm.AsyncModel):
    async def execute(self, prompt, stream, response, conversation):
        yield self.say(prompt, response)


@llm.hookimpl
def register_models(register):
    register(Chat(), AsyncChat())
