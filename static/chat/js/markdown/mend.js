// The last block of an answer that is still written, closed where it is half open, so that it looks now as it will. Pure.

const FENCE = /^ {0,3}(`{3,}|~{3,})/gm;
const BARE = /(^|\n)[ \t]*(#{1,6}|[-=*+]+|\d{1,9}[.)]?|>)[ \t]*$/; // a marker whose text has not come yet
const HALF_LINK = /!?\[([^\]\n]*)\](?:\([^)\n]*)?$/;
const HALF_LABEL = /!?\[([^\]\n]*)$/;
const MARKERS = /\\.|(`+)|(\*\*|__|~~)|([*_])/gs;

export function mended(text) {
  if (openFence(text)) return text; // the parser closes it
  const cut = text.lastIndexOf("\n\n") + 1;
  return text.slice(0, cut) + mendedBlock(text.slice(cut));
}

function openFence(text) {
  let open = null;
  for (const [, fence] of text.matchAll(FENCE)) {
    if (open === null) open = fence;
    else if (fence[0] === open[0] && fence.length >= open.length) open = null;
  }
  return open !== null;
}

function mendedBlock(block) {
  if (/^\s*\|/.test(block)) return mendedTable(block);
  const whole = block.replace(BARE, "$1");
  return closedMath(closedInline(halfLink(whole)));
}

// Without its second line a table is no table yet: its first line waits, and its second is completed.
function mendedTable(block) {
  const lines = block.split("\n");
  const delimiter = lines[1] ?? "";
  if (lines.length < 2 || !/^\s*[|:-][|:\s-]*$/.test(delimiter)) return lines.length < 2 || !delimiter ? "" : block;
  const columns = lines[0].trim().replace(/^\||\|$/g, "").split("|").length;
  const given = delimiter.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const cells = Array.from({ length: columns }, (_, index) => (/^:?-+:?$/.test(given[index] ?? "") ? given[index] : "---"));
  return [lines[0], `|${cells.join("|")}|`, ...lines.slice(2)].join("\n");
}

function halfLink(text) {
  if (/!?\[[^\]\n]*\]\([^)\n]*\)$/.test(text)) return text;
  return text.replace(HALF_LINK, "$1").replace(HALF_LABEL, "$1");
}

// Closes code and emphasis in the reverse order of their opening.
function closedInline(text) {
  const open = [];
  for (const match of text.matchAll(MARKERS)) {
    const [all, code, double, single] = match;
    if (all[0] === "\\") continue;
    const marker = code ?? double ?? single;
    const inCode = open.at(-1)?.[0] === "`";
    if (inCode) {
      if (marker === open.at(-1)) open.pop();
    } else if (open.at(-1) === marker) open.pop();
    else if (code || opens(text, match.index, marker)) open.push(marker);
  }
  return open.length ? trimmed(text, open) : text;
}

// `*` between spaces is a sign, `_` within a word is part of it.
function opens(text, at, marker) {
  const before = text[at - 1] ?? " ";
  const after = text[at + marker.length] ?? "x";
  return !/\s/.test(after) && !(marker[0] === "_" && /\w/.test(before));
}

function trimmed(text, open) {
  const last = open.at(-1);
  if (text.endsWith(last)) return trimmed2(text.slice(0, -last.length), open.slice(0, -1));
  return trimmed2(text, open);
}

const trimmed2 = (text, open) => (open.length ? text.trimEnd() + open.toReversed().join("") : text);

function closedMath(text) {
  const count = text.split("$$").length - 1;
  return count % 2 ? `${text}$$` : text;
}
