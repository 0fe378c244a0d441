// One line for each SDK: its name, and what it says. `server.env` is in the environment.
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import { Ollama } from "ollama";
import OpenAI from "openai";

const question = "What is the weather in Paris?";
const messages = [{ role: "user", content: question }];
const weather = {
  name: "weather",
  parameters: { type: "object", properties: { city: { type: "string" } } },
  parse: JSON.parse,
  function: ({ city }) => `sunny in ${city}`,
};

async function joined(stream, text) {
  let said = "";
  for await (const event of await stream) said += text(event) ?? "";
  return said;
}

const openai = new OpenAI({ maxRetries: 1 });
const anthropic = new Anthropic();
const gemini = new GoogleGenAI({});
const ollama = new Ollama({ host: process.env.OLLAMA_HOST }); // it reads no variable itself

const ways = {
  "openai chat": async () => (await openai.chat.completions.create({ model: "gpt-5", messages })).choices[0].message.content,
  "openai responses": async () => (await openai.responses.create({ model: "gpt-5", input: question })).output_text,
  "openai responses, streamed": () =>
    joined(openai.responses.create({ model: "gpt-5", input: question, stream: true }), (event) =>
      event.type === "response.output_text.delta" ? event.delta : "",
    ),
  "openai runTools": () =>
    openai.chat.completions.runTools({ model: "tools", messages, tools: [{ type: "function", function: weather }] }).finalContent(),
  "openai, after a 429": async () => (await openai.chat.completions.create({ model: "busy", messages })).choices[0].message.content,
  "anthropic": async () =>
    (await anthropic.messages.create({ model: "claude-opus-4-7", max_tokens: 10, messages })).content[0].text,
  "anthropic, streamed": () => anthropic.messages.stream({ model: "claude-opus-4-7", max_tokens: 10, messages }).finalText(),
  "gemini": async () => (await gemini.models.generateContent({ model: "gemini-2.5-flash", contents: question })).text,
  "gemini, streamed": () =>
    joined(gemini.models.generateContentStream({ model: "gemini-2.5-flash", contents: question }), (chunk) => chunk.text),
  "ollama": async () => (await ollama.chat({ model: "llama3.2", messages })).message.content,
  "ollama, streamed": () =>
    joined(ollama.chat({ model: "llama3.2", messages, stream: true }), (part) => part.message.content),
};

for (const [name, way] of Object.entries(ways)) console.log(`${name}: ${await way()}`);
