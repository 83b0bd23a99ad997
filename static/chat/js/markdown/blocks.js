// Splits Markdown that still grows into blocks that are finished, each given out once, and a tail that is not. Pure.

import { mended } from "chat/markdown/mend";
import { lex } from "chat/markdown/parser";

export class Blocks {
  #sealed = 0; // characters

  // All text so far → {fresh: the tokens of blocks that are finished now, tail: tokens of the rest, as it should look}.
  // `ended`: no more will come, so all that is left is finished.
  push(text, ended) {
    const rest = text.slice(this.#sealed);
    const tokens = lex(rest);
    if (ended) {
      this.#sealed = text.length;
      return { fresh: split(tokens), tail: [] };
    }
    const last = tokens.findLastIndex(({ type }) => type !== "space");
    const finished = tokens.slice(0, Math.max(0, last));
    const length = finished.reduce((sum, { raw }) => sum + raw.length, 0);
    // The parser changes some characters (tabs, carriage returns): then nothing can be cut off at a known place.
    if (!rest.startsWith(finished.map(({ raw }) => raw).join(""))) return { fresh: [], tail: tailOf(rest) };
    this.#sealed += length;
    return { fresh: split(finished), tail: tailOf(rest.slice(length)) };
  }
}

// One list of tokens for each block.
const split = (tokens) => tokens.filter(({ type }) => type !== "space").map((token) => [token]);

const tailOf = (text) => lex(mended(text));
