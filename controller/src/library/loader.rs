//! The set of loaded models and how it changes.
//!
//! A load is asked for and answered at once; the status says `loading` from that moment. One task works at a time and
//! always on the newest wish, so a newer load supersedes one that waits. The new set is complete before the old one
//! goes: a load that fails leaves what was loaded in place.
//!
//! Decision: old and new models overlap in memory for a moment. The alternative, unloading first, would leave nothing
//! running after a failure.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::Notify;

use super::facts::{self, Facts, Surveyor};
use super::keeper::{Keeper, Keepers, Stage};
use super::loras;
use super::models::{Catalogue, PASSTHROUGH};
use super::wish::{self, Wish};
use crate::processor::{Fit, Processor};
use crate::session::Parameters;

/// What `GET /api/v1/pipeline/status` reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Where the loading stands.
    pub phase: Phase,
    /// The first wish of the last load.
    pub first: Option<Wish>,
    /// What its model is, once it is loaded; nothing for one that changes no pictures.
    pub facts: Option<Value>,
    /// Its adapters, and the way each was taken.
    pub adapters: Option<Value>,
}

/// Where the loading stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was asked for.
    NotLoaded,
    /// Work is going on; the words are for people.
    Loading(String),
    /// The last load succeeded.
    Loaded,
    /// The last load failed, and this is why. Stays until the next load.
    Failed(String),
}

/// One loaded model under its key.
#[derive(Debug, Clone)]
pub struct Loaded {
    wish: Wish,
    processor: Processor,
    parameters: Parameters,
    #[expect(dead_code, reason = "held to keep the model loaded, asked only once")]
    keeper: Option<Arc<dyn Keeper>>,
    /// What its files told, and loading it has shown.
    facts: Option<Facts>,
}

impl Loaded {
    /// The key, Scope's `node_id`.
    pub fn node_id(&self) -> &str {
        &self.wish.node_id
    }

    /// Scope's `pipeline_id`.
    pub fn pipeline_id(&self) -> &str {
        &self.wish.pipeline_id
    }

    /// What a session puts in its chain.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// What is known of it; nothing of one that changes no pictures.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// Its adapters with the way each was taken, if it was loaded with any.
    fn adapters(&self) -> Option<Value> {
        let mut properties = self.processor.properties.iter();
        let (_, list) = properties.find(|(name, _)| *name == "loras")?;
        let inputs = self.facts.as_ref()?.get("lora_inputs");
        let inputs = inputs.and_then(Value::as_array).into_iter().flatten();
        let inputs: Vec<_> = inputs.filter_map(Value::as_str).collect();
        Some(loras::told(list, &inputs))
    }

    /// Parameters that came with the load; a session starts from them.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

/// Loads models and keeps them; clones share one set.
#[derive(Debug, Clone)]
pub struct Loader(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    catalogue: Catalogue,
    keepers: Arc<dyn Keepers>,
    surveyor: Arc<Surveyor>,
    state: Mutex<State>,
    /// A load has ended.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    wishes: Vec<Wish>,
    loaded: Vec<Loaded>,
    phase: Phase,
    working: bool,
}

impl Loader {
    /// A loader with nothing loaded.
    pub fn new(catalogue: Catalogue, keepers: Arc<dyn Keepers>, surveyor: Arc<Surveyor>) -> Self {
        let state = State {
            wishes: vec![],
            loaded: vec![],
            phase: Phase::NotLoaded,
            working: false,
        };
        Self(Arc::new(Shared {
            catalogue,
            keepers,
            surveyor,
            state: Mutex::new(state),
            ended: Notify::new(),
        }))
    }

    /// Asks for this set of models. The same set again is no work, unless it failed.
    pub fn load(&self, wishes: Vec<Wish>) {
        let mut state = self.0.state.lock().unwrap();
        if state.wishes == wishes && !matches!(state.phase, Phase::Failed(_)) {
            return;
        }
        let names: Vec<_> = wishes
            .iter()
            .map(|wish| wish.pipeline_id.as_str())
            .collect();
        tracing::info!(models = names.join(","), "loading");
        state.phase = Phase::Loading("Starting".into());
        state.wishes = wishes;
        if !state.working {
            state.working = true;
            tokio::spawn(work(Arc::clone(&self.0)));
        }
    }

    /// Where things stand.
    pub fn status(&self) -> Status {
        let state = self.0.state.lock().unwrap();
        let first = state.wishes.first();
        let is_first = |loaded: &&Loaded| Some(&loaded.wish) == first;
        let mut loaded = state.loaded.iter().filter(|_| state.phase == Phase::Loaded);
        let loaded = loaded.find(is_first);
        let facts = loaded.and_then(Loaded::facts);
        Status {
            phase: state.phase.clone(),
            first: first.cloned(),
            facts: facts.map(|told| facts::joined(told, None)),
            adapters: loaded.and_then(Loaded::adapters),
        }
    }

    /// Waits until no load is going on, and says where things stand then.
    pub async fn settled(&self) -> Status {
        loop {
            let ended = self.0.ended.notified();
            let status = self.status();
            if !matches!(status.phase, Phase::Loading(_)) {
                return status;
            }
            ended.await;
        }
    }

    /// What is loaded now, in the order of the load.
    pub fn loaded(&self) -> Vec<Loaded> {
        self.0.state.lock().unwrap().loaded.clone()
    }

    /// Lets go of every model. Blocks while elements stop.
    pub fn unload(&self) {
        let stale = {
            let mut state = self.0.state.lock().unwrap();
            state.wishes.clear();
            state.phase = Phase::NotLoaded;
            std::mem::take(&mut state.loaded)
        };
        drop(stale);
        self.0.ended.notify_waiters();
    }
}

/// Works until the newest wish is fulfilled or refused.
async fn work(shared: Arc<Shared>) {
    loop {
        let (wishes, loaded) = {
            let state = shared.state.lock().unwrap();
            (state.wishes.clone(), state.loaded.clone())
        };
        let outcome = assemble(&shared, &wishes, loaded).await;
        let (stale, done) = shared.settle(&wishes, outcome);
        // Elements stop here, outside the lock and off the runtime.
        tokio::task::spawn_blocking(move || drop(stale));
        if done {
            return;
        }
    }
}

impl Shared {
    /// Takes a finished set over; returns what it replaces, and whether no newer wish waits.
    fn settle(&self, wishes: &[Wish], outcome: Result<Vec<Loaded>, String>) -> (Vec<Loaded>, bool) {
        let mut state = self.state.lock().unwrap();
        let newest = state.wishes == wishes;
        let (phase, stale) = match outcome {
            Ok(_) if !newest && state.wishes.is_empty() => (Phase::NotLoaded, vec![]),
            Ok(set) => {
                tracing::info!(models = set.len(), "loaded");
                (Phase::Loaded, std::mem::replace(&mut state.loaded, set))
            }
            Err(reason) => {
                tracing::error!(%reason, "loading failed");
                (Phase::Failed(reason), vec![])
            }
        };
        let done = newest || state.wishes.is_empty();
        if newest {
            state.phase = phase;
        }
        state.working = !done;
        self.ended.notify_waiters();
        (stale, done)
    }

    fn stage(self: &Arc<Self>, model: &str) -> Stage {
        let (shared, model) = (Arc::clone(self), model.to_owned());
        Arc::new(move |text| {
            let mut state = shared.state.lock().unwrap();
            if matches!(state.phase, Phase::Loading(_)) {
                state.phase = Phase::Loading(format!("{model}: {text}"));
            }
        })
    }
}

/// Makes the wished set out of what is loaded and what has to be opened, in that order of preference.
async fn assemble(
    shared: &Arc<Shared>,
    wishes: &[Wish],
    mut loaded: Vec<Loaded>,
) -> Result<Vec<Loaded>, String> {
    wish::check(wishes)?;
    let mut kept = wish::reuse(wishes, &mut loaded, |loaded| &loaded.wish);
    let mut set = Vec::new();
    for (at, wish) in wishes.iter().enumerate() {
        let loaded = match kept.remove(&at) {
            Some(loaded) => loaded.under(wish),
            None => open(shared, wish).await?,
        };
        set.push(loaded);
    }
    Ok(set)
}

impl Loaded {
    /// What passes frames through, which needs no loading.
    pub fn passthrough(node_id: &str) -> Self {
        let wish = Wish {
            node_id: node_id.into(),
            pipeline_id: PASSTHROUGH.into(),
            load_params: None,
        };
        let processor = Processor {
            node_id: node_id.into(),
            pipeline_id: PASSTHROUGH.into(),
            factory: None,
            properties: vec![],
            size: None,
            fit: Fit::default(),
        };
        Self {
            wish,
            processor,
            parameters: Parameters::new(),
            keeper: None,
            facts: None,
        }
    }

    /// The same model under the key of another wish.
    fn under(mut self, wish: &Wish) -> Self {
        self.processor.node_id.clone_from(&wish.node_id);
        self.wish = wish.clone();
        self
    }
}

async fn open(shared: &Arc<Shared>, wish: &Wish) -> Result<Loaded, String> {
    let id = &wish.pipeline_id;
    let unknown = || format!("there is no pipeline `{id}`; see GET /api/v1/pipelines/schemas");
    let crashed = |_| format!("loading `{id}` crashed; see the log of gst-scope");
    let model = shared.catalogue.find(id).ok_or_else(unknown)?;
    let (surveyor, home) = (Arc::clone(&shared.surveyor), model.home.clone());
    let looked = tokio::task::spawn_blocking(move || surveyor.look(&home)).await;
    let mut facts = looked.map_err(crashed)??;
    let usual = facts::usual_size(&model.home, &facts);
    let (mut processor, parameters) =
        wish.understand(&model, &shared.catalogue.lora_dir(), usual)?;
    if processor.factory.is_none() {
        return Ok(Loaded {
            wish: wish.clone(),
            processor,
            parameters,
            keeper: None,
            facts: None,
        });
    }
    let cache = shared.catalogue.cache_dir().display().to_string();
    processor.properties.push(("model-cache-dir", cache));
    let stage = shared.stage(id);
    stage("opening");
    let (keepers, wanted) = (Arc::clone(&shared.keepers), processor.clone());
    let opened = tokio::task::spawn_blocking(move || keepers.open(&wanted, stage)).await;
    let keeper = opened.map_err(crashed)?.map_err(|err| err.to_string())?;
    facts.extend(keeper.facts());
    Ok(Loaded {
        wish: wish.clone(),
        processor,
        parameters,
        keeper: Some(keeper.into()),
        facts: Some(facts),
    })
}
