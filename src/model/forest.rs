//! Trees that say how likely something is a defect, by what the surface model shows of it and by how it looks.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::info::Reader;
use super::ModelError;

/// What the trees look at, in this order: what a closer look shows (where there is none, the map), what the map shows, and how the
/// thing looks against the metal about it (`inspect::look`).
pub const INPUTS: [&str; 45] = [
    "defect",
    "lint",
    "mark",
    "metal",
    "standout",
    "size",
    "map_defect",
    "map_lint",
    "map_mark",
    "map_metal",
    "patch",
    "line",
    "elsewhere",
    "map_patch",
    "map_line",
    "core",
    "edge",
    "halo",
    "darkest",
    "brightest",
    "core_red",
    "core_green",
    "core_light",
    "red",
    "green",
    "light",
    "darkest_red",
    "darkest_light",
    "brightest_red",
    "brightest_light",
    "saturation",
    "metal_level",
    "scatter",
    "own_colour",
    "spread",
    "edge_spread",
    "steep",
    "sharp",
    "one_sided",
    "radius",
    "half_width",
    "grain",
    "bare",
    "ended",
    "metal_ended",
];

/// A node of a tree: leads on to another one further down the list, or is a leaf.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Node {
    /// Input, threshold, where to go up to it and above it.
    Split(usize, f64, usize, usize),
    /// Log odds.
    Leaf([f64; 1]),
}

/// Trees whose log odds are added.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forest {
    /// What is added to the trees' sum.
    base: f64,
    trees: Vec<Vec<Node>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    inputs: Vec<String>,
    shapes: BTreeMap<String, Forest>,
}

impl Forest {
    /// Reads the forests of a model's metadata, by shape; none where it has none.
    pub(super) fn read(r: &Reader, key: &str) -> Result<BTreeMap<String, Forest>, ModelError> {
        if (r.get)(key).is_none() {
            return Ok(BTreeMap::new());
        }
        let raw: Raw = r.json(key)?;
        if raw.inputs != INPUTS {
            return r.bad(key, format!("its inputs are {:?}, this program has {INPUTS:?}", raw.inputs));
        }
        for (shape, forest) in &raw.shapes {
            if !forest.is_sound() {
                return r.bad(key, format!("the trees of `{shape}` lead nowhere, back or to no number"));
            }
        }
        Ok(raw.shapes)
    }

    fn is_sound(&self) -> bool {
        let node = |i: usize, n: usize, node: &Node| match node {
            Node::Split(input, t, a, b) => {
                *input < INPUTS.len() && t.is_finite() && (i + 1..n).contains(a) && (i + 1..n).contains(b)
            }
            Node::Leaf([v]) => v.is_finite(),
        };
        let tree = |t: &Vec<Node>| !t.is_empty() && t.iter().enumerate().all(|(i, v)| node(i, t.len(), v));
        self.base.is_finite() && self.trees.iter().all(tree)
    }

    /// Log odds of a defect.
    pub fn log_odds(&self, inputs: &[f64; INPUTS.len()]) -> f64 {
        let leaf = |tree: &Vec<Node>| {
            let mut at = 0;
            loop {
                match tree[at] {
                    Node::Split(input, threshold, a, b) => at = if inputs[input] <= threshold { a } else { b },
                    Node::Leaf([v]) => return v,
                }
            }
        };
        self.base + self.trees.iter().map(leaf).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(shapes: &str, inputs: &[&str]) -> Result<BTreeMap<String, Forest>, ModelError> {
        let text = format!(r#"{{"inputs":{},"shapes":{shapes}}}"#, serde_json::to_string(inputs).unwrap());
        Forest::read(&Reader { get: &|_| Some(text.clone()), path: Path::new("m.onnx") }, "loupe.forest")
    }

    #[test]
    fn trees_are_added_and_what_leads_nowhere_is_refused() {
        let two = r#"{"spot":{"base":-1,"trees":[[[0,0.5,1,2],[-2],[3]],[[1,-1,1,2],[0.25],[0.5]]]}}"#;
        let forests = read(two, &INPUTS).unwrap();
        let mut x = [0.0; INPUTS.len()];
        assert_eq!(forests["spot"].log_odds(&x), -1.0 - 2.0 + 0.5);
        (x[0], x[1]) = (0.6, -1.0);
        assert_eq!(forests["spot"].log_odds(&x), -1.0 + 3.0 + 0.25);
        for bad in [
            r#"{"spot":{"base":0,"trees":[[[0,0.5,0,2],[1],[2]]]}}"#,
            r#"{"spot":{"base":0,"trees":[[[0,0.5,1,3],[1],[2]]]}}"#,
            r#"{"spot":{"base":0,"trees":[[[45,0.5,1,2],[1],[2]]]}}"#,
            r#"{"spot":{"base":0,"trees":[[]]}}"#,
            r#"{"spot":{"base":0}}"#,
            r#"{"spot":{"base":0,"trees":[[[0,0.5,1]]]}}"#,
        ] {
            let e = read(bad, &INPUTS).unwrap_err().to_string();
            assert!(e.contains("m.onnx") && e.contains("loupe.forest"), "{e}");
        }
        assert!(read(two, &INPUTS[1..]).unwrap_err().to_string().contains("inputs"));
    }
}
