//! From a run that fails to the least that fails in the same way.
//!
//! First actions are left out, in halves, quarters and so on down to single ones, as long as what is left still fails
//! (delta debugging, after Andreas Zeller); then the same is done inside of what is left, on its JSON: fields are left
//! out, which makes them the simplest there is, lists lose elements, numbers become smaller. Nothing here knows what an action means.

use crate::action::Script;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Runs that a search may cost.
const RUNS_MAX: usize = 6_000;

/// What is left of a failure.
#[derive(Debug)]
pub(crate) struct Shrunk {
    pub(crate) text: String,
    pub(crate) failure: String,
    pub(crate) runs: usize,
}

impl Shrunk {
    pub(crate) fn actions(&self) -> usize {
        self.text.lines().count() - 1
    }
}

/// The promise that a failure breaks: what comes in front of the first colon.
pub(crate) fn promise(failure: &str) -> &str {
    failure.split(':').next().unwrap_or(failure)
}

struct Search<'a> {
    script: Script,
    failure: String,
    runs: usize,
    fails: &'a mut dyn FnMut(&Script) -> Option<String>,
}

/// Cuts down a run that fails; `fails` tells how one fails, if it does.
pub(crate) fn shrink(
    script: &Script,
    failure: &str,
    fails: &mut dyn FnMut(&Script) -> Option<String>,
) -> Shrunk {
    let mut search = Search {
        script: script.clone(),
        failure: failure.to_owned(),
        runs: 0,
        fails,
    };
    loop {
        let before = search.script.clone();
        search.leave_out_actions();
        search.simplify();
        if search.script == before || search.runs >= RUNS_MAX {
            break;
        }
    }
    let (setup, actions) = (&search.script.setup, &search.script.actions);
    let lines = std::iter::once(shortest(setup)).chain(actions.iter().map(shortest));
    Shrunk {
        text: lines.map(|line| format!("{line}\n")).collect(),
        failure: search.failure,
        runs: search.runs,
    }
}

fn written(plain: &impl Serialize) -> Value {
    serde_json::to_value(plain).expect("plain data")
}

/// A value written without what is the simplest there is.
fn shortest<T: Serialize + DeserializeOwned + PartialEq>(plain: &T) -> Value {
    let mut value = written(plain);
    let means_the_same =
        |value: &Value| T::deserialize(value).is_ok_and(|meant: T| meant == *plain);
    while let Some(shorter) = simpler(&value).into_iter().find(means_the_same) {
        value = shorter;
    }
    value
}

impl Search<'_> {
    /// Takes a script in place of the present one, if it fails in the same way.
    fn try_script(&mut self, script: Script) -> bool {
        if self.runs >= RUNS_MAX || script == self.script {
            return false;
        }
        self.runs += 1;
        match (self.fails)(&script) {
            Some(failure) if promise(&failure) == promise(&self.failure) => {
                self.failure = failure;
                self.script = script;
                true
            }
            _ => false,
        }
    }

    fn leave_out_actions(&mut self) {
        let mut length = self.script.actions.len().next_power_of_two();
        while length > 0 {
            // From the end, as what comes late depends on what comes early.
            let mut end = self.script.actions.len();
            while end > 0 {
                let start = end.saturating_sub(length);
                let mut script = self.script.clone();
                script.actions.drain(start..end);
                self.try_script(script);
                end = start;
            }
            length /= 2;
        }
    }

    fn simplify(&mut self) {
        let setup = self.script.setup.clone();
        self.simplify_one(&setup, |script, setup| script.setup = setup);
        for index in 0..self.script.actions.len() {
            let action = self.script.actions[index].clone();
            self.simplify_one(&action, |script, action| script.actions[index] = action);
        }
    }

    fn simplify_one<T>(&mut self, plain: &T, put: impl Fn(&mut Script, T))
    where
        T: Serialize + DeserializeOwned,
    {
        let mut value = written(plain);
        let mut skipped = 0;
        // Each change that is taken makes the value less, so this comes to an end.
        'less: loop {
            for less in simpler(&value).into_iter().skip(skipped) {
                if let Ok(meant) = T::deserialize(&less) {
                    let mut script = self.script.clone();
                    put(&mut script, meant);
                    if script == self.script || self.try_script(script) {
                        value = less;
                        continue 'less;
                    }
                }
                skipped += 1;
            }
            return;
        }
    }
}

/// Values that are simpler than this one in one place, the simplest first.
fn simpler(value: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            for name in fields.keys() {
                let mut less = fields.clone();
                less.remove(name);
                found.push(Value::Object(less));
            }
            // A part in place of the whole: an event's offspring for itself.
            parts(value, &mut found);
            for (name, inner) in fields {
                found.extend(simpler(inner).into_iter().map(|inner| {
                    let mut changed = fields.clone();
                    changed.insert(name.clone(), inner);
                    Value::Object(changed)
                }));
            }
        }
        Value::Array(elements) => {
            let half = elements.len().div_ceil(2);
            if half > 1 {
                found.push(Value::Array(elements[half..].to_vec()));
                found.push(Value::Array(elements[..half].to_vec()));
            }
            for nth in 0..elements.len() {
                let mut less = elements.clone();
                less.remove(nth);
                found.push(Value::Array(less));
            }
            for (nth, inner) in elements.iter().enumerate() {
                found.extend(simpler(inner).into_iter().map(|inner| {
                    let mut changed = elements.clone();
                    changed[nth] = inner;
                    Value::Array(changed)
                }));
            }
        }
        Value::Number(number) => {
            let number = number.as_u64().unwrap_or(0);
            let mut less = vec![0, number / 2, number.saturating_sub(1)];
            less.retain(|&less| less < number);
            less.dedup();
            found.extend(less.into_iter().map(Value::from));
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
    found
}

/// The objects inside of a value.
fn parts(value: &Value, found: &mut Vec<Value>) {
    let inner: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Object(fields) => Box::new(fields.values()),
        Value::Array(elements) => Box::new(elements.iter()),
        _ => return,
    };
    for inner in inner {
        if inner.is_object() {
            found.push(inner.clone());
        }
        parts(inner, found);
    }
}
