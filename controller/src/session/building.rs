//! From what was asked for to a session that runs.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::actor::Actor;
use super::lanes::Lanes;
use super::recordings::Recordings;
use super::remote::Remote;
use super::shares::Shares;
use super::state::State;
use super::{Furniture, Parameters, Wanted, parameters, pictures};
use crate::media::MediaError;
use crate::media::event::{Event, Events};
use crate::media::handover::Handover;
use crate::media::offer::Plan;
use crate::media::peer::{Connection, Peer};
use crate::media::processing::{self, Processing};
use crate::media::switch::Lane;

/// Everything a session begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) wanted: Wanted,
    /// `None` runs without a client.
    pub(super) client: Option<Client>,
    pub(super) furniture: Option<Furniture>,
    pub(super) state: Arc<State>,
    /// The session's name on the shelf of recordings.
    pub(super) id: String,
}

/// How a client is reached.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) sdp: String,
    pub(super) plan: Plan,
    pub(super) connection: Connection,
}

/// Makes the pipelines and starts them; the processors load while the client connects.
pub(super) async fn build(
    beginning: Beginning,
    events: Events,
    texts: mpsc::Sender<String>,
) -> Result<Actor, MediaError> {
    let built = tokio::task::spawn_blocking(move || make(beginning, events, texts));
    built
        .await
        .map_err(|_| MediaError::Pipeline("building the session broke off".into()))?
}

fn make(
    beginning: Beginning,
    events: Events,
    texts: mpsc::Sender<String>,
) -> Result<Actor, MediaError> {
    let Beginning {
        wanted,
        client,
        furniture,
        state,
        id,
    } = beginning;
    let initial = parameters::route(&wanted.initial_parameters);
    let assets = furniture.as_ref().map(|furniture| &furniture.assets);
    let refuse = |reason| _ = events.send(Event::Refused(reason));
    let own = pictures::resolved_or_without(assets, &initial.processor, refuse);
    let built = Processing::build(
        processing::LOCAL,
        &wanted.processors,
        wanted.takes_input,
        &own,
        &events,
    )?;
    let (chain, door) = built.map_or((None, None), |(chain, door)| (Some(chain), door));
    let (remote, encoder) = match client {
        Some(client) => {
            let plan = Plan {
                input: client.plan.input.filter(|_| wanted.takes_input),
                ..client.plan
            };
            let (peer, encoder) = Peer::new(plan, &client.connection, &events, texts)?;
            let remote = Remote::new(peer, state.born.elapsed());
            (Some(remote), Some(encoder))
        }
        None => (None, None),
    };
    let handover = Arc::new(Handover::new(state.born, encoder, door));
    handover.set_paused(initial.paused.unwrap_or(false));
    if let Some(chain) = &chain {
        chain.connect(Lane::Home, &handover);
    }
    let (crossing, news) = (handover.clone(), events.clone());
    let lanes = Lanes::new(crossing, news, wanted.takes_input, chain, wanted.local);
    let assets = furniture.as_ref().map(|known| known.assets.clone());
    let shares = Shares::new(handover.clone(), events.clone(), wanted.takes_input, assets);
    let shelf = furniture.as_ref().map(|known| known.shelf.clone());
    let recordings = Recordings::new(id, handover.clone(), shelf, events.clone(), wanted.records);
    let actor = Actor {
        remote,
        lanes: Arc::new(lanes),
        shares: Arc::new(shares),
        recordings: Arc::new(recordings),
        handover,
        furniture,
        state,
        events,
        first: node_patches(wanted.node_parameters),
    };
    start(&actor).inspect_err(|_| actor.stop())?;
    Ok(actor)
}

/// What single processors are told when they run.
fn node_patches(wanted: Vec<(String, Parameters)>) -> Vec<Parameters> {
    let patch = |(node, mut patch): (String, Parameters)| {
        patch.insert("node_id".into(), node.into());
        patch
    };
    wanted.into_iter().map(patch).collect()
}

fn start(actor: &Actor) -> Result<(), MediaError> {
    let (lanes, failures) = (actor.lanes.clone(), actor.events.clone());
    // A thread, not a runtime's: loading may take a minute, and nobody must wait for it to leave the program.
    spawn("session-start", move || {
        if let Err(error) = lanes.start() {
            failures.send(Event::Failed(error.to_string())).ok();
        }
    });
    if let Some(remote) = &actor.remote {
        remote.start(&actor.handover, &actor.events)?;
    }
    actor.state.handover.set(actor.handover.clone()).ok();
    actor.state.lanes.set(actor.lanes.clone()).ok();
    actor.state.recordings.set(actor.recordings.clone()).ok();
    Ok(())
}

/// A thread of its own for what may block for long.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(work) {
        tracing::error!(%error, "no thread could be started");
    }
}
