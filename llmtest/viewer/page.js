"use strict";
// All text of the program under test gets into the page as text nodes, never as markup: trusted types refuse anything else.
(() => {
const $ = id => document.getElementById(id), all = what => [...document.querySelectorAll(what)];
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const CONTROLS = new RegExp(CONTROL.source, "g");
const FAILING = new Set(["failed", "error"]);
const MARKS = { passed: "✓", failed: "✕", error: "✕", xpassed: "!", skipped: "–", xfailed: "–", open: "…" };
const TABS = "chat diff timeline events graph request checks compare".split(" "), capital = s => s[0].toUpperCase() + s.slice(1);
const LONG = 6000, PAGE = 40;
const index = JSON.parse($("index").textContent).rows.map(([name, status, cause, into, out, cost, seconds, words, has], at) =>
  ({ at, name, status, cause, into, out, cost, seconds, has, hay: [name, status, cause, words].join("\n").toLowerCase() }));

// -- elements

const escape = c => { const n = c.charCodeAt(0); return n < 256 ? "\\x" + n.toString(16).padStart(2, "0") : "\\u" + n.toString(16).padStart(4, "0"); };
const safe = s => CONTROL.test(s) ? s.replace(CONTROLS, escape) : s;
const line = s => safe(s.length > 400 ? s.slice(0, 400) + "…" : s).replace(/\n/g, "↵");

// A text with its control characters as escapes that can be told from the same letters in the text itself.
function put(to, s) {
  if (!CONTROL.test(s)) { to.append(s); return to; }
  let last = 0;
  for (const m of s.matchAll(new RegExp(`(?:${CONTROL.source})+`, "g"))) {
    to.append(s.slice(last, m.index), span("ctl", safe(m[0])));
    last = m.index + m[0].length;
  }
  to.append(s.slice(last));
  return to;
}
function el(tag, cls, ...inner) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  for (const i of inner.flat()) if (i != null && i !== "") typeof i === "object" ? e.append(i) : put(e, String(i));
  return e;
}
const span = (...a) => el("span", ...a), div = (...a) => el("div", ...a), para = (...a) => el("p", ...a);
const attr = (e, of) => { for (const k in of) if (of[k] != null) e.setAttribute(k === "label" ? "aria-label" : k, of[k]); return e; };
const button = (text, act, more) => { const b = attr(el("button", "", text), { type: "button", ...more }); b.onclick = act; return b; };
const h3 = text => el("h3", "", text.length > 400 ? line(text) : text);
function options(select, names, at) {
  select.replaceChildren(...names.map((name, n) => attr(el("option", "", name), { value: n })));
  select.value = at;
  return select;
}
const pre = (s, max) => long(el("pre"), s, max);
function long(to, s, max = LONG) {
  if (s.length <= max) return put(to, s);
  put(to, s.slice(0, max));
  const more = button(`show all ${count(s.length)} characters`, e => { e.stopPropagation(); more.remove(); put(to, s.slice(max)); });
  more.className = "more";
  to.append("\n", more);
  return to;
}
const count = n => n.toLocaleString("en-US");
const compact = n => n == null ? "" : n < 10000 ? count(n) : n < 1e6 ? (n / 1000).toFixed(1) + "k" : (n / 1e6).toFixed(2) + "M";
const money = c => c == null ? "" : c === 0 ? "$0" : "$" + (c.toFixed(c < 0.01 ? 6 : c < 1 ? 4 : 2)).replace(/(\.\d*?)0+$/, "$1");
const took = s => s == null ? "" : s < 0.001 ? (s * 1e6).toFixed(0) + " µs" : s < 1 ? (s * 1000).toFixed(s < 0.01 ? 1 : 0) + " ms" : s < 100 ? s.toFixed(2) + " s" : (s / 60).toFixed(1) + " min";
const tokens = (a, b) => a == null && b == null ? "" : `${compact(a ?? 0)} → ${compact(b ?? 0)}`;
const say = text => { $("live").textContent = safe(text); };

// A list that draws only the rows in view, so that it may have a hundred thousand.
class List {
  constructor(host, height, row, pick, roles) {
    Object.assign(this, { host, height, row, pick, roles, size: 0, at: -1, all: false });
    this.tall = div("tall"); this.slice = div("slice"); this.tall.append(this.slice);
    attr(host, { role: roles[0], label: roles[2] }).replaceChildren(this.tall);
    attr(this.tall, { role: "presentation" }); attr(this.slice, { role: "presentation" });
    host.onscroll = () => this.wait ||= requestAnimationFrame(() => { this.wait = 0; this.draw(); });
    this.slice.onclick = e => { const r = e.target.closest("[data-at]"); if (r) this.pick(+r.dataset.at, true, e); };
    new ResizeObserver(() => host.offsetParent && this.draw()).observe(host);
  }
  set(size, at = -1) { this.size = size; this.at = at; this.tall.style.height = size * this.height + "px"; this.from = -1; this.draw(); }
  draw(force) {
    const view = this.host.clientHeight || 600, top = this.host.scrollTop;
    const from = this.all ? 0 : Math.max(0, Math.floor(top / this.height) - 6);
    const to = this.all ? Math.min(this.size, 5000) : Math.min(this.size, Math.ceil((top + view) / this.height) + 6);
    if (!force && from === this.from && to === this.to) return;
    this.from = from; this.to = to;
    const rows = [];
    for (let i = from; i < to; i++) {
      const r = this.row(i);
      r.dataset.at = i; r.id = `${this.host.id}-${i}`;
      attr(r, { role: this.roles[1], "aria-selected": i === this.at ? "true" : "false" });
      rows.push(r);
    }
    this.slice.replaceChildren(...rows);
    this.slice.style.transform = `translateY(${from * this.height}px)`;
    if (this.at >= from && this.at < to) this.host.setAttribute("aria-activedescendant", `${this.host.id}-${this.at}`);
    else this.host.removeAttribute("aria-activedescendant");
  }
  select(at) {
    this.at = at;
    const y = at * this.height, view = this.host.clientHeight;
    if (at >= 0 && (y < this.host.scrollTop || y + this.height > this.host.scrollTop + view)) this.host.scrollTop = Math.max(0, y - view / 2);
    this.draw(true);
  }
}
let inner = null;  // the list in the panel

// -- state

const S = { test: -1, rec: 0, run: -1, tab: "chat", with: -1, mode: "diff", snap: 0, axis: "order", event: -1, cause: -1 };
let D = null, T = null;  // the data of the open test, and of its shown recording
const kept = new Map();

async function unpack(at, part) {
  if (!window.DecompressionStream) throw new Error("This browser is too old to decompress the traces of this page.");
  const text = $("case" + at).textContent.split(" ")[part], decoder = new TextDecoder(), gzip = new DecompressionStream("gzip");
  const to = gzip.writable.getWriter(), from = gzip.readable.getReader();
  // Chunk by chunk: a Blob sends the bytes to another process and back, and a Response copies them.
  to.write(Uint8Array.fromBase64?.(text) || Uint8Array.from(atob(text), c => c.charCodeAt(0))).catch(() => {});
  to.close().catch(() => {});
  let json = "";
  for (let got; !(got = await from.read()).done;) json += decoder.decode(got.value, { stream: true });
  return JSON.parse(json);
}
async function later(at) {  // what few views need: of a large case, it is compressed by itself
  const data = index[at]?.has ? await open(at) : { later: [] };
  return data.later ||= unpack(at, 1);
}
async function open(at) {
  if (kept.has(at)) return kept.get(at);
  const data = await unpack(at, 0);
  if (kept.size > 1) kept.delete(kept.keys().next().value);
  kept.set(at, data);
  return data;
}

let hashing = 0;
function remember(push) {  // later, because a browser takes only so many changes of the address in a while
  clearTimeout(hashing);
  if (push) history.pushState(null, "", "#" + address());
  else hashing = setTimeout(() => history.replaceState(null, "", "#" + address()), 120);
}
function address() {
  const { test, rec, run, tab } = S, name = at => encodeURIComponent(index[at].name);
  return test < 0 ? "" : `test=${name(test)}${rec ? "&recording=" + rec : ""}${run < 0 ? "" : "&run=" + run}&tab=${tab}${S.with < 0 ? "" : "&with=" + name(S.with)}`;
}
async function follow() {  // what the address says
  const said = new URLSearchParams(location.hash.slice(1).replace(/\+/g, "%2B")), find = k => index.findIndex(r => r.name === said.get(k));
  const at = find("test");
  if (at < 0) {
    leave();
    if (said.has("test")) say("There is no such test in this page.");
  } else await enter(at, { rec: +said.get("recording"), run: +(said.get("run") ?? -1), tab: said.get("tab"), with: find("with") });
}

// -- the index of tests

let rows = [], status = "all", query = "";

const fits = (r, s) => s === "all" || s === (FAILING.has(r.status) ? "failing" : r.status);
function choose() {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  rows = index.filter(r => fits(r, status) && words.every(w => r.hay.includes(w)));
  rows.sort((a, b) => FAILING.has(b.status) - FAILING.has(a.status) || a.at - b.at);
  $("rows").scrollTop = 0;
  tests.set(rows.length, rows.findIndex(r => r.at === S.test));
  attr($("rows"), { "aria-rowcount": rows.length });
  if (!rows.length) tests.slice.replaceChildren(para("empty", index.length ? "No test matches." : "No tests were run."));
  say(`${count(rows.length)} of ${count(index.length)} tests`);
}
function testRow(i) {
  const r = rows[i], cut = r.name.lastIndexOf("::") + 1;
  const name = span("", cut ? span("path", line(r.name.slice(0, cut + 1))) : "", line(r.name.slice(cut && cut + 1)));
  name.title = safe(r.name);
  const row = div("row", span("mark " + r.status, MARKS[r.status] || "?"), name, span("why", line(r.cause)),
    span("num dim", tokens(r.into, r.out)), span("num dim", money(r.cost)), span("num dim", took(r.seconds)));
  for (const c of row.children) attr(c, { role: "gridcell" });
  row.firstChild.title = r.status;
  return attr(row, { "aria-rowindex": i + 1, label: `${r.status}: ${line(r.name)} ${line(r.cause)}` });
}
function filters() {
  const n = s => count(index.filter(r => fits(r, s)).length);
  const states = new Set(["all", ...(n("failing") > "0" ? ["failing"] : []), ...index.map(r => r.status).filter(s => !FAILING.has(s))]);
  $("filters").replaceChildren(...[...states].map(s => button(`${s} ${n(s)}`, () => { status = s; filters(); choose(); }, { "aria-pressed": s === status })));
}
function leave(push) {
  S.test = -1; D = T = inner = null;
  tree.set(0);
  $("test").hidden = true; $("tests").hidden = false; $("search").hidden = $("filters").hidden = false;
  tests.draw(true); remember(push);
}

// -- one test

async function enter(at, to = {}) {
  const row = index[at];
  D = { traces: [], snapshots: [], checks: [], notes: [], failure: "", source: "", assistant: "" };
  if (row.has) try { D = await open(at); } catch (e) { D.notes.push(String(e)); }
  if (S.test !== at) { S.snap = Math.max(0, D.snapshots.findIndex(s => s.rows.length)); S.mode = "diff"; }
  Object.assign(S, { test: at, rec: D.traces[to.rec] ? to.rec : 0, run: -1, with: to.with ?? -1, event: -1, cause: -1 });
  $("tests").hidden = true; $("test").hidden = false; $("search").hidden = $("filters").hidden = true;
  about();
  recording();
  S.tab = to.tab && offered().includes(to.tab) ? to.tab : FAILING.has(row.status) && D.snapshots.some(s => s.rows.length) ? "diff" : T ? "chat" : "checks";
  if (T && T.runs[to.run]) { S.run = to.run; unfold(to.run); tree.select(T.open.indexOf(to.run)); }
  tabs(); panel(); remember(to.push);
  document.title = `${safe(row.name)} · ${TITLE}`;
}
function recording() {
  T = D.traces[S.rec] || null;
  const choice = $("recording");
  choice.hidden = D.traces.length < 2;
  options(choice, D.traces.map((_, n) => `recording ${n + 1} of ${D.traces.length}`), S.rec);
  $("find").value = ""; $("found").textContent = "";
  if (T && !T.depth) prepare(T);
  if (T) T.hits = null;
  refold();
}
function prepare(t) {
  const n = t.runs.length, e = t.events, sizes = e.kind.length;
  t.depth = new Uint32Array(n); t.sub = new Uint32Array(n).fill(1); t.folded = new Uint8Array(n); t.at = new Float64Array(sizes);
  for (let i = 0, now = 0; i < sizes; i++) t.at[i] = now += e.time[i];
  for (let i = 0; i < n; i++) if (t.runs[i][0] >= 0) t.depth[i] = t.depth[t.runs[i][0]] + 1;
  for (let i = n - 1; i > 0; i--) if (t.runs[i][0] >= 0) t.sub[t.runs[i][0]] += t.sub[i];
}
const seconds = i => { const r = T.runs[i]; return r[5] < 0 ? null : (T.at[r[5]] - T.at[r[4]]) / 1e9; };
const isBad = r => r[10] != null;
const title = r => line(`${r[1]} ${r[2]}`);

const figures = r => [tokens(r.into, r.out) && tokens(r.into, r.out) + " tokens", money(r.cost), took(r.seconds)].filter(Boolean).join(" · ");
function about() {
  const r = index[S.test];
  $("status").className = "badge " + r.status;
  $("status").textContent = `${MARKS[r.status] || ""} ${r.status}`;
  $("name").replaceChildren(span("", r.name)); $("figures").textContent = figures(r);
  $("assistant").hidden = !D.assistant;
  $("notes").replaceChildren(r.cause && para("cause", r.cause), ...D.notes.map(note => para("note", note)));
}

// -- the tree of runs

function refold() {
  const open = [];
  if (T) for (let i = 0; i < T.runs.length; i += T.folded[i] ? T.sub[i] : 1) open.push(i);
  if (T) T.open = open;
  tree.set(open.length, open.indexOf(S.run));
  if (!T) tree.slice.replaceChildren(para("empty", "Nothing was recorded in this test."));
  $("folds").hidden = !T || !T.sub.some(n => n > 1);
  $("folds").textContent = T && T.folded.some(Boolean) ? "Unfold all" : "Fold all";
}
function unfold(run) {
  let changed = false;
  for (let up = T.runs[run][0]; up >= 0; up = T.runs[up][0]) if (T.folded[up]) { T.folded[up] = 0; changed = true; }
  if (changed) refold();
}
function fold(run, folded) { if (T.sub[run] > 1) { T.folded[run] = folded; refold(); } }
function runRow(at) {
  const i = T.open[at], r = T.runs[i], has = T.sub[i] > 1;
  const name = span("name", span("fold", has ? (T.folded[i] ? "▸" : "▾") : ""), span("kind " + r[1], r[1]), el("b", "", line(r[2])));
  name.style.paddingLeft = Math.min(T.depth[i], 12) * 13 + 4 + "px";
  if (T.depth[i] > 12) name.prepend(span("dim", T.depth[i]));
  if (r[11] != null) name.append(span("dim", line(r[11])));
  else if (r[9] && r[9] !== r[2]) name.append(span("dim", line(r[9])));
  if (isBad(r)) name.append(span("bad", "✕ ", line(r[10].split(":")[0])));
  else if (r[3] !== "ended") name.append(span("open", r[3]));
  if (has && T.folded[i]) name.append(span("dim", `${count(T.sub[i] - 1)} inside`));
  const spent = r[6] == null && r[8] == null ? [] : [span("num", tokens(r[6], r[7])), span("num", money(r[8]))];
  const row = div((spent.length ? "row" : "row bare") + (T.hits?.set.has(i) ? " hit" : ""), name, spent, span("num", took(seconds(i))));
  return attr(row, { "aria-level": T.depth[i] + 1, "aria-expanded": has ? String(!T.folded[i]) : null, "aria-setsize": T.open.length, "aria-posinset": at + 1, label: title(r) });
}
function pick(run, fromChat) {
  if (!T || run < 0 || run >= T.runs.length) return;
  S.run = run; unfold(run);
  tree.select(T.open.indexOf(run));
  if (S.tab === "chat") mark(!fromChat);
  else if (S.tab === "timeline") timeline(true);
  else if (S.tab === "graph") light();
  else if (S.tab === "request") panel();
  else if (S.tab === "events") { const first = T.runs[run][4]; if (T.events.run[S.event] !== run && inner) showEvent(first); }
  say(`${title(T.runs[run])}, ${T.runs[run][3]}`);
  remember();
}
function step(by) {
  const list = S.test < 0 ? tests : tree, at = Math.max(0, Math.min(list.size - 1, list.at + by));
  if (list.size) list === tests ? tests.select(at) : pick(T.open[at]);
}
function search() {
  const said = $("find").value.trim();
  if (!T) return;
  T.hits = null;
  if (said) {
    const list = matching(T, new RegExp(said.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i"));
    T.hits = { list, set: new Set(list), at: -1 };
  }
  $("found").textContent = T.hits ? `${count(T.hits.list.length)} ${T.hits.list.length === 1 ? "run" : "runs"}` : "";
  tree.draw(true);
}
function nextHit(by) {
  if (!T || !T.hits || !T.hits.list.length) return;
  const h = T.hits; h.at = (h.at + by + h.list.length) % h.list.length;
  $("found").textContent = `${h.at + 1} of ${count(h.list.length)}`;
  pick(h.list[h.at]);
}
function matching({ runs, values, messages, events }, word) {  // the runs that were given or gave it; whole answers stand for tokens
  const hit = runs.map(r => word.test(r[2]) || word.test(r[10] || "")), said = messages.map(m => has(m, word, []));
  values.forEach((v, i) => { const run = events.run[i]; if (run >= 0 && !hit[run] && typeof v === "object") hit[run] = has(v, word, said); });
  return [...hit.keys()].filter(i => hit[i]);
}
function has(value, word, said) {
  const todo = [value];
  while (todo.length) {
    const v = todo.pop();
    if (typeof v === "string" || typeof v === "number") { if (word.test(v)) return true; }
    else if (v && v.$w === "@") { if (said[v.n]) return true; }
    else if (v && v.$w === "messages") { if (v.n.some(n => said[n])) return true; }
    else if (v && typeof v === "object") for (const k in v) if (k !== "$w") todo.push(v[k]);
  }
  return false;
}

// -- values

const brief = n => { const m = T.messages[n]; return `‹${m.role}› ${words(m).slice(0, 300)}${(m.tool_calls || []).map(c => ` ${c.name}(${args(c.args)})`).join("")}`; };
function plain(v) {
  if (Array.isArray(v)) return v.map(plain);
  if (!v || typeof v !== "object") return v;
  const w = v.$w;
  if (w === "@") return brief(v.n);
  if (w === "messages") return v.n.map(brief);
  if (w === "params") return plain(T.params[v.n]);
  if (w === "dict") return Object.fromEntries(v.items.map(([k, x]) => [k, plain(x)]));
  if (w === "Structured") return { [v.type]: plain(v.fields || {}) };
  const rest = Object.create(null);
  for (const k in v) if (k !== "$w") rest[k] = plain(v[k]);
  return w === undefined ? rest : "v" in rest ? rest.v : { [w]: rest };
}
const json = v => typeof v === "string" ? v : v === undefined ? "" : JSON.stringify(plain(v), null, 2);
// JSON in a string, with line breaks; unless they would change more than spaces, as the digits of a large number.
const bare = s => s.replace(/\s/g, "");
const tidy = s => { try { const told = json(JSON.parse(s)); if (bare(told) === bare(s)) return told; } catch {} return s; };
const args = a => typeof a === "string" ? a : Object.entries(a || {}).map(([k, v]) => `${k}=${JSON.stringify(plain(v))}`).join(", ");
const words = m => typeof m.content === "string" ? m.content : (m.content || []).map(b => typeof b === "string" ? b : b?.type === "text" ? b.text || "" : "").join("");
const value = n => T.values[n];
const input = r => { const v = value(r[4]) || {}, e = value(r[5]) || {}; return r[1] === "chain" ? e.inputs ?? v.inputs : r[1] === "tool" ? v.inputs ?? v.input_str : v.messages ?? v.prompts ?? v.query; };
const output = r => { const v = value(r[5]) || {}; return v.outputs ?? v.output ?? v.documents ?? v.generations; };

// -- views

const offered = () => TABS.filter(t => t === "checks" || t === "compare" || (t === "diff" && D.snapshots.length) || (T && (t !== "graph" || T.graphs)));
function tabs() {
  const marks = { checks: D.checks.filter(c => c.holds !== true).length, diff: D.snapshots.filter(s => s.rows.length).length };
  $("tabs").replaceChildren(...offered().map(t => {
    const b = button(capital(t), () => turn(t), { role: "tab", id: "tab-" + t, "aria-selected": t === S.tab, "aria-controls": "panel", tabindex: t === S.tab ? 0 : -1 });
    if (marks[t]) b.append(" ", span("count", marks[t]));
    return b;
  }));
  attr($("panel"), { "aria-labelledby": "tab-" + S.tab });
}
function turn(tab) { if (!offered().includes(tab)) return; S.tab = tab; tabs(); panel(); remember(); }
async function panel() {
  const at = () => [S.test, S.rec, S.tab, S.with].join(), was = at();
  inner = null;
  $("panel").className = ""; $("panel").scrollTop = 0;
  try {
    const more = ["graph", "request", "compare", !D.snapshots.length && "diff"].includes(S.tab) && [await later(S.test), await later(S.tab === "compare" ? S.with : -1)];
    if (at() === was) ({ chat, diff, timeline, events, graph, request, checks, compare })[S.tab](...more || []);
  }
  catch (e) { fill(pad(para("failed", `This view failed: ${e}`))); console.error(e); }
}
const fill = (...nodes) => $("panel").replaceChildren(...nodes);
const pad = (...nodes) => div("pad", ...nodes);
const segments = (choices, now, act) => attr(div("seg", Object.entries(choices).map(([k, text]) => button(text, () => act(k), { "aria-pressed": k === now }))), { role: "group" });

// the conversation, in pages around the chosen run

let page = [0, 0];
function around(at) { page = [Math.max(0, at - PAGE), Math.min(T.chat.length, at + PAGE)]; drawChat(); }
function chat() { around(Math.max(0, itemOf(S.run))); mark(S.run >= 0); }
function itemOf(run) {
  if (run < 0) return -1;
  const inside = T.chat.findIndex(c => c[0] === run || within(run, c[0]));
  return inside >= 0 ? inside : T.chat.findLastIndex(c => T.runs[c[0]][4] <= T.runs[run][4]);
}
function drawChat() {
  const [a, b] = page, n = T.chat.length;
  const more = (text, to) => button(text, () => { page = to; const p = $("panel"), old = p.scrollHeight; drawChat(); if (to[0] < a) p.scrollTop += p.scrollHeight - old; mark(false); });
  fill(pad(n ? "" : para("empty", "No model, tool or retriever was called."), a ? more(`${count(a)} earlier`, [Math.max(0, a - PAGE), b]) : "",
    T.chat.slice(a, b).map(spoken), b < n ? more(`${count(n - b)} later`, [a, Math.min(n, b + PAGE)]) : ""));
}
function mark(move) {
  const at = itemOf(S.run);
  if (move && at >= 0 && (at < page[0] || at >= page[1])) around(at);
  let first = null;
  for (const s of all(".say")) {
    const on = +s.dataset.run === S.run || (S.run >= 0 && within(S.run, +s.dataset.run));
    s.classList.toggle("on", on);
    if (on) first ||= s;
  }
  if (move) (first || document.querySelector(`.say[data-item="${at}"]`))?.scrollIntoView({ block: "nearest" });
}
function spoken([run, what, n], k) {
  const r = T.runs[run], m = what === "message" ? T.messages[n] : {}, role = m.role || (what === "text" ? "llm" : what), who = m.role && role !== "ai" ? role : r[2];
  const about = role === "ai" ? r[9] === who ? "" : line(r[9] || "") : role === who ? m.name : role;
  const body = m.role ? said(m) : what === "error" ? pre(r[10] || "") : what === "open" ? para("dim", "No answer was recorded.") : result(r, what);
  const box = el("article", "say " + role, el("header", "", el("b", "", line(who)), span("", about), span("num", m.usage && tokens(m.usage.input_tokens, m.usage.output_tokens))), body);
  box.dataset.run = run; box.dataset.item = page[0] + k;
  box.onclick = () => { if (!String(getSelection())) pick(run, true); };
  return box;
}
function said(m) {
  const blocks = typeof m.content === "string" ? [m.content] : m.content || [];
  const out = blocks.map(b => {
    const text = typeof b === "string" ? b : b?.type === "text" ? String(b.text || "") : null;
    if (text != null) return text && long(el("pre", "words"), tidy(text));
    const thought = b?.reasoning ?? b?.thinking;
    return typeof thought === "string" ? div("think", pre(thought)) : /^tool_(use|call)$/.test(b?.type) ? "" : pre(json(b));
  });
  return out.concat((m.tool_calls || []).map(c => div("call", el("b", "", c.name), pre(args(c.args).length < 90 ? args(c.args) : json(c.args)))));
}
function result(r, what) {
  const start = value(r[4]) || {}, end = value(r[5]) || {};
  if (what === "text") return [pre((start.prompts || []).map(json).join("\n\n")), pre((end.generations || []).map(g => g?.text ?? json(g)).join("\n"))];
  if (what === "retriever") return [pre(json(start.query)), ...(end.documents || []).map(d => pre(d?.page_content ?? json(d)))];
  const out = end.output, m = out && out.$w === "@" ? T.messages[out.n] : null;
  return [div("call", pre(args(start.inputs ?? start.input_str))), ...(m ? said(m) : [pre(tidy(json(out)))])];
}

// expected, received, and their difference

function diff(more) {
  const shots = D.snapshots.length ? D.snapshots : [{ name: "", expected: null, received: more[S.rec].tree, headline: "The test was compared with no snapshot.", rows: [], folded: 0, more: 0 }];
  const s = shots[S.snap] || shots[0];
  if (s.same) s.expected = s.received;
  if (!s.expected && S.mode !== "received") S.mode = "received";
  const modes = s.expected ? { diff: "Diff", expected: "Expected", received: "Received" } : { received: "Received" };
  const bar = div("tools", segments(modes, S.mode, k => { S.mode = k; diff(more); }));
  if (shots.length > 1) {
    const choice = options(attr(el("select"), { label: "Snapshot" }), shots.map(x => x.name), S.snap);
    choice.onchange = () => { S.snap = +choice.value; S.cause = -1; diff(more); };
    bar.append(choice);
  }
  if (!index[S.test].cause.includes(s.headline)) bar.append(para("", s.headline));
  if (s.rows.length && S.mode === "diff") bar.append(button("Next (n)", () => nextCause(1)));
  S.cause = -1;
  if (S.mode !== "diff") return fill(bar, pad(pre(s[S.mode] || "", 2e5)));
  if (!s.rows.length) return fill(bar, pad(para("dim", "Expected and received are equal."), pre(s.received || "", 2e5)));
  fill(bar, sides(s.rows, ["Expected", "Received"], s.folded, s.more));
  nextCause(1);
}
function sides(rows, heads, folded, more) {
  const grid = div("diff", heads.map(h => div("h", h)));
  for (const [depth, a, b, note, gap] of rows) {
    if (gap) { grid.append(div("wide", `… ${count(gap)} equal lines`)); continue; }
    const shown = a != null && b != null && a !== b ? parted(a, b) : [[a], [b]];
    const cells = [a, b].map((text, n) => {
      const cell = div(a === b ? "same" : text == null ? "void" : n ? "new" : "gone", shown[n]);
      cell.style.paddingLeft = 10 + Math.min(depth, 30) * 12 + "px";
      return cell;
    });
    if (note && note < 3) {
      cells[b == null ? 0 : 1].append(span("tag", note === 1 ? "◀ first difference" : "◀ another difference"));
      cells[0].dataset.cause = 1;
    }
    grid.append(...cells);
  }
  const wide = (n, what) => n && grid.append(div("wide", `… ${count(n)} ${what}`));
  wide(folded, "equal lines"); wide(more, "more rows of the difference");
  return grid;
}
function parted(a, b) {  // the words between the equal beginning and the equal end of two lines
  const x = a.match(/\w+|\s+|[^\w\s]/g) || [], y = b.match(/\w+|\s+|[^\w\s]/g) || [];
  let i = 0, j = 0; const n = Math.min(x.length, y.length);
  while (i < n && x[i] === y[i]) i++;
  while (j < n - i && x[x.length - 1 - j] === y[y.length - 1 - j]) j++;
  return [x, y].map(w => { const m = w.slice(i, w.length - j).join(""); return [w.slice(0, i).join(""), m ? el("mark", "", m) : "", w.slice(w.length - j).join("")]; });
}
function nextCause(by) {
  if (S.tab !== "diff" || S.mode !== "diff") { S.mode = "diff"; turn("diff"); if (S.tab !== "diff") return; }
  const found = all("[data-cause]");
  if (!found.length) return;
  found[S.cause]?.classList.remove("at");
  S.cause = (S.cause + by + found.length) % found.length;
  found[S.cause].classList.add("at");
  found[S.cause].scrollIntoView({ block: "nearest" });
  say(`difference ${S.cause + 1} of ${found.length}`);
}

// what ran beside what

function before(a, b) {  // certainly, in every legal schedule; by the places of the siblings below the nearest common run
  const up = i => T.runs[i][0];
  while (T.depth[a] > T.depth[b]) a = up(a);
  while (T.depth[b] > T.depth[a]) b = up(b);
  while (up(a) !== up(b)) { a = up(a); b = up(b); }
  if (a === b) return false;
  const x = T.order[a], y = T.order[b];
  return x[0] < y[0] || (x[0] === y[0] && (BigInt("0x" + y[2]) >> BigInt(x[1]) & 1n) === 1n);
}
const within = (a, b) => b > a && b < a + T.sub[a];
function besides(run) {
  const found = new Set();
  if (run >= 0 && T.order) T.runs.forEach((_, i) => i === run || within(run, i) || within(i, run) || before(i, run) || before(run, i) || found.add(i));
  return found;
}
function timeline(again) {
  const v = T.events.virtual, axes = { order: "Order of events", wall: "Wall clock", ...(v.length ? { virtual: "Virtual time" } : {}) };
  if (!axes[S.axis]) S.axis = "order";
  const near = besides(S.run), last = T.events.kind.length - 1;
  const place = n => S.axis === "order" ? n : S.axis === "wall" ? T.at[n] : v[n];
  let end = 1;
  for (let i = 0; i <= last; i++) end = Math.max(end, place(i));
  const rows = [], lanes = new Map();
  T.runs.forEach((r, i) => { const l = T.events.lane[r[4]] ?? -1; lanes.has(l) ? lanes.get(l).push(i) : lanes.set(l, [i]); });
  for (const [l, runs] of [...lanes].sort((a, b) => a[0] - b[0])) rows.push(l < 0 ? "unknown thread" : T.lanes[l][3], ...runs);
  const chosen = rows.indexOf(S.run);
  const me = S.run < 0 ? "" : T.runs[S.run][2];
  const told = S.run < 0 ? "Choose a run to see what ran beside it." : !T.order ? "Too many runs to tell what ran side by side." : `${near.size ? count(near.size) : "No"} ${near.size === 1 ? "run" : "runs"} beside ${me}${near.size ? ": " : "."}${[...near].slice(0, 4).map(i => title(T.runs[i])).join(", ")}${near.size > 4 ? ", …" : ""}`;
  const row = at => {
    const i = rows[at];
    if (typeof i === "string") return div("row lane", span("", line(i)));
    const r = T.runs[i], bar = el("i", `${r[1]}${isBad(r) ? " broken" : ""}`);
    const a = place(r[4]), b = r[5] < 0 ? end : place(r[5]);
    bar.style.left = a / end * 100 + "%"; bar.style.width = Math.max(0, b - a) / end * 100 + "%";
    const name = span("", title(r));
    name.style.paddingLeft = Math.min(T.depth[i], 10) * 8 + "px";
    const said = title(r) + (S.axis === "order" ? "" : `, ${took((b - a) / 1e9)}`);
    return attr(div("row" + (near.has(i) ? " beside" : ""), name, span("track", bar)), { label: said + (near.has(i) ? ", ran beside the chosen run" : ""), title: said });
  };
  const bar = div("tools", segments(axes, S.axis, k => { S.axis = k; timeline(true); }), para("", told), span("dim num", S.axis === "order" ? `${count(last + 1)} events` : took(end / 1e9)));
  const top = again && inner ? inner.host.scrollTop : 0;
  const host = attr(div("list time"), { tabindex: 0, id: "times" });
  fill(bar, host);
  inner = new List(host, 23, row, at => typeof rows[at] === "number" && pick(rows[at]), ["listbox", "option", "Runs by thread and task"]);
  inner.set(rows.length);
  host.scrollTop = top;
  if (chosen >= 0) inner.select(chosen);
}

// raw events

function glance(i) {
  const v = T.values[i];
  return typeof v === "string" ? JSON.stringify(v) : v ? JSON.stringify(plain(v)).slice(1, 300) : "(cut)";
}
const kindOf = i => T.kinds[T.events.kind[i]] + (i < T.late ? "" : " (late)"), nameOf = run => run < 0 ? "" : T.runs[run][2];
const laneOf = i => { const l = T.lanes[T.events.lane[i]]; return l ? l[1] || l[0] : ""; };
function events() {
  const e = T.events, host = attr(div("list evt"), { tabindex: 0, id: "events" }), below = attr(div("below"), { id: "payload" });
  below.hidden = true;
  fill(host, below);
  inner = new List(host, 23, i => {
    return div("row", span("num dim", i), span("m" + (i < T.late ? "" : " late"), kindOf(i)), span("", line(nameOf(e.run[i]))),
      span("num dim", e.virtual.length ? took(e.virtual[i] / 1e9) : "+" + took(T.at[i] / 1e9)), span("dim", line(laneOf(i))), span("m dim", line(glance(i))));
  }, at => { showEvent(at); if (e.run[at] >= 0) pick(e.run[at]); }, ["listbox", "option", "Events"]);
  inner.set(e.kind.length);
  if (S.event >= 0) showEvent(S.event); else if (S.run >= 0) showEvent(T.runs[S.run][4]);
}
function showEvent(at) {
  S.event = at;
  inner.select(at);
  const below = $("payload"), e = T.events, lane = T.lanes[e.lane[at]];
  below.hidden = false;
  const v = T.values[at], told = v === null ? "(cut: the values of this recording take too much room)" : json(v);
  below.replaceChildren(para("dim", `event ${at} · ${kindOf(at)} · +${took(T.at[at] / 1e9)}${e.virtual.length ? ` · virtual ${took(e.virtual[at] / 1e9)}` : ""}${lane ? ` · ${lane[3]}` : ""}`), pre(told));
}

// graphs

const draw = ([tag, of, ...inner]) => {  // a joined page has data of other machines: no links
  const e = attr(document.createElementNS("http://www.w3.org/2000/svg", /^(svg|defs|marker|path|g|rect|text)$/.test(tag) ? tag : "g"), of);
  e.append(...inner.map(i => typeof i === "string" ? line(i) : draw(i)));
  return e;
};
const light = () => all(".node").forEach(n => n.classList.toggle("on", n.dataset.runs.split(",").includes(String(S.run))));
function graph({ [S.rec]: { graphs } }) {
  const mine = graphs.filter(g => S.run < 0 || g.run === S.run || within(g.run, S.run)), shown = (mine.length ? mine : graphs).slice(0, 5);
  fill(pad(para("dim", shown.length < T.graphs ? `${shown.length} of ${count(T.graphs)} graphs: choose a run to see those around it` : ""), shown.map(g => {
    const go = e => { const runs = e.target.closest(".node")?.dataset.runs.split(",").map(Number); if (runs) pick(runs[(runs.indexOf(S.run) + 1) % runs.length]); };
    const drawing = g.drawing ? draw(g.drawing) : para("dim", "This graph has too many nodes to draw.");
    drawing.onclick = go;
    drawing.onkeydown = e => e.key === "Enter" && go(e);
    const path = el("ol", "steps", g.path.map(([n, runs]) => attr(el("li", "", runs.map(i => button(line(T.runs[i][2]), () => pick(i)))), { value: n })));
    return el("section", "", h3("Graph " + T.runs[g.run][2]), drawing, h3("Path taken, step by step"), path,
      para("dim", "Nodes that did not run are not shown. Arrows join the nodes of consecutive steps: LangGraph's callbacks tell no edges."), button("Copy as mermaid", () => copy(g.mermaid, "mermaid text")));
  })));
  light();
}

// what a run was given

function facts(of) { return el("dl", "facts", Object.entries(of).filter(([, v]) => (v ?? "") !== "").flatMap(([k, v]) => [el("dt", "", k), long(el("dd"), json(v))])); }
function metadata(run, abouts) {  // each run has only what differs from the run around it
  const way = [], all = {};
  for (; run >= 0; run = T.runs[run][0]) way.push(abouts[run]);
  for (const [, own, gone] of way.reverse()) { Object.assign(all, own); for (const key of gone) delete all[key]; }
  return all;
}
const isModel = r => /^(chat|llm)$/.test(r[1]);
function request({ [S.rec]: { abouts } }) {
  const i = S.run >= 0 ? S.run : T.runs.findIndex(isModel);
  if (i < 0) return fill(pad(para("empty", "Choose a run.")));
  const r = T.runs[i], start = value(r[4]) || {}, params = { ...T.params[start.invocation_params?.n] }, tags = abouts[i][0], meta = metadata(i, abouts);
  const tools = Array.isArray(params.tools) ? params.tools : start.tools || [];
  delete params.tools;
  const lane = T.lanes[T.events.lane[r[4]]];
  const out = [h3(title(r)), facts({ model: r[9], ended: r[3], error: r[10], tokens: tokens(r[6], r[7]), cost: money(r[8]), took: took(seconds(i)), "thread and task": lane?.[3] })];
  if (isModel(r)) {
    out.push(h3("Parameters"), facts(params), h3(`Tools as the model saw them (${tools.length})`));
    out.push(...tools.map(t => { const f = t && t.function || t, n = typeof t === "string" ? t : f?.name ?? f?.type ?? "tool"; return el("details", "box", el("summary", "", el("code", "", line(String(n))), " ", span("dim", line(String(f?.description || "")))), pre(json(t))); }));
  }
  const given = input(r), numbers = given && given.$w === "messages" ? given.n : null;
  out.push(h3("Input"), ...(numbers ? numbers.map(n => div("box", span("dim", T.messages[n].role), said(T.messages[n]))) : [pre(json(given))]));
  const gave = output(r), answer = r[1] === "chat" && gave?.[0]?.message ? T.messages[gave[0].message.n] : null;
  if (r[5] >= 0) out.push(h3(r[10] != null ? "Error" : "Output"), ...(answer ? said(answer) : [pre(r[10] ?? tidy(json(gave)))]));
  out.push(h3("Tags and metadata"), facts({ tags: tags.join(", "), ...meta }));
  fill(pad(out));
}

// violations and rules

function checks() {
  const out = [];
  if (D.failure && !D.checks.some(c => c.text === D.failure)) out.push(h3("Failure"), div("box bad", pre(D.failure)));
  for (const [what, head] of [["violation", "Violations"], ["rule", "Rules"]]) {
    const found = D.checks.filter(c => c.what === what);
    if (found.length) out.push(h3(head));
    for (const c of found) {
      const [word, cls] = c.holds === true ? ["✓ holds", "s-ok"] : c.holds === false ? ["✕ broken", "failed"] : ["? cannot tell", "open"];
      const seen = c.runs.map(([rec, run, n, kind]) => button(`${n}: ${kind} ${run >= 0 ? line(D.traces[rec].runs[run][2]) : ""}`, () => { if (S.rec !== rec) { S.rec = rec; recording(); } pick(run); turn("chat"); }));
      out.push(div("box" + (c.holds === false ? " bad" : ""), para(cls, `${word}: ${line(c.code)}`), c.holds === true ? "" : pre(c.text), seen.length ? para("seg", seen) : ""));
    }
  }
  if (D.source) out.push(h3("Source"), pre(D.source));
  fill(pad(out.length ? out : para("empty", "No violations, and no rules were asked.")));
}

// two traces

function compare(...both) {
  const field = attr(el("input"), { type: "search", list: "names", placeholder: "Name of another test or trace", label: "Compare with", autocomplete: "off" });
  const names = attr(el("datalist", "", index.filter(r => r.has && r.at !== S.test).slice(0, 1000).map(r => attr(el("option"), { value: r.name }))), { id: "names" });
  field.onchange = () => { S.with = index.findIndex(r => r.name === field.value && r.has); panel(); remember(); };
  const bar = div("tools", field, names), other = index[S.with];
  if (!other) return fill(bar, pad(para("empty", "Choose another test or trace: their trees are compared line by line.")));
  field.value = other.name;
  const rows = against(...both.map(d => d.map(t => t.tree).join("\n").split("\n")));
  if (rows.every(r => r[1] === r[2])) bar.append(para("", "The trees are equal."));
  fill(bar, sides(rows.slice(0, 4000), [index[S.test], other].map(r => line(`${r.name}  ${figures(r)}`)), 0, Math.max(0, rows.length - 4000)));
}
function against(a, b) {  // a longest common order of equal lines, and what lies between
  let start = 0, end = 0;
  const most = Math.min(a.length, b.length), places = new Map(), found = [], ends = [], at = [], back = [], common = [[a.length, b.length]];
  while (start < most && a[start] === b[start]) start++;
  while (end < most - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  for (let k = 1; k <= end; k++) common.push([a.length - k, b.length - k]);
  for (let j = b.length - end - 1; j >= start; j--) places.set(b[j], places.get(b[j]) || []).get(b[j]).push(j);
  for (let i = start; i < a.length - end; i++) if (places.get(a[i])?.length) found.push([i, places.get(a[i]).pop()]);
  found.forEach(([, j], k) => {
    let low = 0, high = ends.length;
    while (low < high) { const mid = (low + high) >> 1; ends[mid] < j ? low = mid + 1 : high = mid; }
    back[k] = low ? at[low - 1] : -1; ends[low] = j; at[low] = k;
  });
  for (let k = at.at(-1) ?? -1; k >= 0; k = back[k]) common.push(found[k]);
  for (let i = start - 1; i >= 0; i--) common.push([i, i]);
  const rows = [], same = [];
  let i = 0, j = 0;
  for (const [x, y] of common.reverse()) {
    if (x > i || y > j || x === a.length) {  // two equal lines are shown before and after what differs
      const head = rows.length ? 2 : 0, tail = x > i || y > j ? 2 : 0, hidden = same.length - head - tail;
      if (hidden > 1) same.splice(head, hidden, [0, "", "", 0, hidden]);
      rows.push(...same.splice(0));
      for (; i < x || j < y; i++, j++) rows.push([0, i < x ? a[i] : null, j < y ? b[j] : null, 0]);
    }
    if (x < a.length) same.push([0, a[x], b[y], 0]);
    i = x + 1; j = y + 1;
  }
  return rows;
}

// -- copying

async function copy(text, what) {
  try { await navigator.clipboard.writeText(text); }
  catch {  // not allowed here: by the older way
    const area = el("textarea"); area.value = text; document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
  }
  say(`Copied: ${what}`);
}
const copyAssistant = () => D?.assistant && copy(D.assistant, "text for a coding assistant");
async function copyText() {
  const s = D.snapshots[S.snap] || { rows: [] }, indent = d => "  ".repeat(d);
  const text = S.tab === "diff" && S.mode === "diff" && s.rows.length
    ? [s.headline, ...s.rows.flatMap(([d, a, b]) => a === b ? "  " + indent(d) + a : [["- ", a], ["+ ", b]].filter(l => l[1] != null).map(l => l[0] + indent(d) + l[1]))].join("\n")
    : S.tab === "events" ? T.values.slice(0, 2e4).map((_, i) => `${i}  ${kindOf(i)}  ${nameOf(T.events.run[i])}  ${glance(i)}`).join("\n")
    : T && /^(chat|timeline)$/.test(S.tab) ? (await later(S.test))[S.rec].tree : $("panel").innerText;
  copy(text, "this view as text");
}

// -- keys

function error(by) {
  const open = S.test >= 0, n = open ? T ? T.runs.length : 0 : rows.length;
  let at = open ? S.run : tests.at;
  if (at < 0 && by < 0) at = n;
  for (let k = 0; k < n; k++) {
    at = (at + by + n) % n;
    if (open ? isBad(T.runs[at]) : FAILING.has(rows[at].status)) return open ? pick(at) : tests.select(at);
  }
  say("Nothing failed here.");
}
function other(by) { const at = rows.findIndex(r => r.at === S.test), to = rows[at + by]; if (to) enter(to.at, { tab: S.tab, push: true }); }
function theme() {
  const root = document.documentElement, now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
}
const help = () => $("keys").showModal();
function sideways(by) {
  const { folded, sub, runs } = T, run = S.run, closed = folded[run] || sub[run] < 2;
  if (by < 0) { if (closed) pick(runs[run][0]); else fold(run, 1); }
  else if (folded[run]) fold(run, 0);
  else if (!closed) step(1);
}
document.addEventListener("keydown", e => {
  const field = e.target.closest("input, select"), k = e.key, on = document.activeElement, opened = S.test >= 0;
  let acts = {};
  if (e.ctrlKey || e.metaKey || e.altKey || $("keys").open) return;
  if (field) acts = { Escape: [() => field.blur()], Enter: field === $("find") && [nextHit, e.shiftKey ? -1 : 1], ...(field === $("search") && { Enter: [toTests, 0], ArrowDown: [toTests, 0] }) };
  else {
    const free = on === document.body || on.classList.contains("list"), to = k === "ArrowRight" ? 1 : -1;
    acts = { j: [step, 1], k: [step, -1], e: [error, 1], E: [error, -1], "?": [help], t: [theme], "/": [() => $(opened ? "find" : "search").focus()] };
    if (free) Object.assign(acts, { ArrowDown: [step, 1], ArrowUp: [step, -1] }, !opened && rows[tests.at] && { Enter: [go, tests.at] });
    if (opened) Object.assign(acts, { n: [nextCause, 1], N: [nextCause, -1], u: [leaveTo], Escape: [leaveTo], c: [copyAssistant], y: [copyText], "[": [other, -1], "]": [other, 1] }, /^[1-8]$/.test(k) && { [k]: [turn, offered()[k - 1]] });
    if (on.role === "tab") acts.ArrowLeft = acts.ArrowRight = [() => { const all = offered(), tab = all[(all.indexOf(S.tab) + to + all.length) % all.length]; turn(tab); $("tab-" + tab).focus(); }];
    else if (free && T && S.run >= 0) acts.ArrowLeft = acts.ArrowRight = [sideways, to];
  }
  if (acts[k]) { e.preventDefault(); acts[k][0](acts[k][1]); }
});
async function go(at) { tests.select(at); await enter(rows[at].at, { push: true }); $("tree").focus(); }
function toTests(at) { $("rows").focus(); tests.select(at); }
function leaveTo() { const at = rows.findIndex(r => r.at === S.test); leave(true); toTests(at); }

// -- beginning

const TITLE = document.title;
const tests = new List($("rows"), 30, testRow, go, ["grid", "row", "Tests"]);
const tree = new List($("tree"), 25, runRow, (at, _, e) => { const run = T.open[at]; if (e.target.closest(".fold") && T.sub[run] > 1) fold(run, T.folded[run] ? 0 : 1); else pick(run); }, ["tree", "treeitem", "Runs"]);
$("search").oninput = e => { query = e.target.value; choose(); };
$("find").oninput = search;
$("recording").onchange = e => { S.rec = +e.target.value; S.run = -1; recording(); tabs(); panel(); remember(); };
$("folds").onclick = () => { const any = T.folded.some(Boolean); T.folded = T.folded.map((_, i) => any || T.sub[i] < 2 ? 0 : 1); refold(); };
$("theme").onclick = theme; $("help").onclick = help; $("close").onclick = () => $("keys").close();
$("back").onclick = leaveTo; $("with").onclick = () => turn("compare"); $("copy").onclick = copyText; $("assistant").onclick = copyAssistant;
$("home").onclick = e => { e.preventDefault(); leave(); };
addEventListener("hashchange", follow);
for (const [when, whole] of [["beforeprint", true], ["afterprint", false]]) addEventListener(when, () => [tests, tree, inner].forEach(l => { if (l) { l.all = whole; l.draw(true); } }));
$("app").hidden = false;
filters(); choose();
if (location.hash.length > 1) follow();
performance.mark("llmtest-ready");
})();
