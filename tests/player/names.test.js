// Where names stand in the picture.

import assert from "node:assert/strict";
import test from "node:test";

import { ending, placesOfNames } from "../../simplegrad/view/player/names.js";

const name = (i, x, y, figures = 0) => ({ i, x, y, r: 5.5, text: "v0", figures });
const box = (x, y, r = 5.5) => [x - r, y - r, x + r, y + r];
const line = (x0, y0, x3, y3) => [x0, y0, x0 + (x3 - x0) / 3, y0 + (y3 - y0) / 3, x3 - (x3 - x0) / 3, y3 - (y3 - y0) / 3, x3, y3];

test("a name stands below its circle where nothing else does", () => {
  const at = placesOfNames([name(7, 100, 100)], [box(100, 100)], [line(100, 100, 200, 100)]).get(7);
  assert.deepEqual([at.x, at.anchor], [100, "middle"]);
  assert.ok(at.y > 110);
});

test("it makes way for an edge, for a node and for another name", () => {
  const alone = placesOfNames([name(0, 100, 100)], [box(100, 100)], []).get(0);
  assert.notDeepEqual(placesOfNames([name(0, 100, 100)], [box(100, 100)], [line(100, 100, 100, 300)]).get(0), alone);
  const near = [name(0, 100, 100), name(1, 100, 120)], boxes = [box(100, 100), box(100, 120)];
  const [first, second] = placesOfNames(near, boxes, []).values();
  assert.ok(first.y < 95 || first.anchor !== "middle", "the second circle stands below the first");
  assert.ok(Math.abs(first.y - second.y) >= 11 || first.anchor !== second.anchor);
});

test("with numbers below it, it stays below its circle, and other names make way for them", () => {
  const [first, second] = placesOfNames([name(0, 100, 100, 80), name(1, 120, 110)], [box(100, 100), box(120, 110)], []).values();
  assert.ok(first.anchor === "middle" && first.y > 100);
  assert.ok(second.anchor !== "middle" || second.y < 110);
});

test("of very many none is looked at closely", () => {
  const many = Array.from({ length: 500 }, (_, i) => name(i, 100 + i * 3, 100));
  assert.ok([...placesOfNames(many, many.map(({ x, y }) => box(x, y)), []).values()].every(({ anchor }) => anchor === "middle"));
});

test("it stays in the picture, below its circle or beside it", () => {
  const across = Array.from({ length: 20 }, (_, i) => line(60, 110 + i, 140, 110 + i)), picture = [0, 90, 300, 200];
  assert.ok(placesOfNames([name(0, 100, 100)], [box(100, 100)], across).get(0).y < 95, "above, where that is free");
  const { x, y } = placesOfNames([name(0, 100, 100)], [box(100, 100)], across, picture).get(0);
  assert.ok(y >= 90 + 9 && x >= 0);
});

test("of a long name its end is shown, from a part of it on", () => {
  assert.equal(ending("weight", 9), "weight");
  assert.equal(ending("layers.0.in_proj_weight", 15), "…in_proj_weight");
  assert.equal(ending("layers.0.norm1.weight", 14), "…norm1.weight");
  assert.equal(ending("layers.0.weight", 2), "");
});
