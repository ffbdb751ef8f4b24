//! One task owns one session: its pipelines and, if it has one, its client.
//!
//! Everybody else speaks to it by [`Command`]; GStreamer's threads by [`Event`] and by text messages of the client.
//! Whatever ends the session, it ends here, once: the client is told, then everything is freed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::building::{Beginning, build, spawn};
use super::lanes::Lanes;
use super::recordings::Recordings;
use super::remote::Remote;
use super::shares::Shares;
use super::state::State;
use super::{Furniture, Parameters, SessionError, outbox, parameters, pictures};
use crate::library::assets::Assets;
use crate::media::channel;
use crate::media::event::{Event, Events};
use crate::media::handover::Handover;

/// How often the watchdog, the bit rate and the held picture are looked after.
const TICK: Duration = Duration::from_millis(500);
/// Remembered keys about other applications' pictures.
const SHARED: [&str; 2] = ["input_source", "output_sinks"];
/// A processor that takes longer over a patch is busy loading; its reply is not waited for.
const PATCHING: Duration = Duration::from_secs(2);
/// Whoever asked for the end waits this long for it; a model being loaded may hold up the rest, which then
/// ends by itself.
const ENDING: Duration = Duration::from_millis(600);

/// What the registry asks of a session.
#[derive(Debug)]
pub(super) enum Command {
    /// Checked candidates, as (mid, m-line, text).
    AddCandidates(Vec<(Option<String>, Option<u32>, String)>),
    /// A checked patch; the reply is the processors' refusal.
    Apply {
        patch: Parameters,
        reply: oneshot::Sender<Result<(), SessionError>>,
    },
    /// The reply comes when all is freed.
    Close { reply: oneshot::Sender<()> },
}

/// Why a session ended, and who waits for it.
enum End {
    Asked(oneshot::Sender<()>),
    Gone(&'static str),
    Failed(String),
}

/// What runs, and how it is told to change.
pub(super) struct Actor {
    pub(super) remote: Option<Remote>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) shares: Arc<Shares>,
    pub(super) recordings: Arc<Recordings>,
    pub(super) handover: Arc<Handover>,
    pub(super) furniture: Option<Furniture>,
    pub(super) state: Arc<State>,
    pub(super) events: Events,
    /// Patches to begin with.
    pub(super) first: Vec<Parameters>,
}

/// Runs a session from its beginning to its end; `leave` takes it off the registry. The answer is empty where there is
/// no client.
pub(super) async fn run(
    beginning: Beginning,
    mut commands: mpsc::UnboundedReceiver<Command>,
    answered: oneshot::Sender<Result<String, SessionError>>,
    leave: impl FnOnce(),
) {
    let (events, mut news) = mpsc::unbounded_channel();
    let (texts, mut messages) = mpsc::channel(channel::WAITING);
    let sdp = beginning.client.as_ref().map(|client| client.sdp.clone());
    let mut actor = match build(beginning, events, texts).await {
        Ok(actor) => actor,
        Err(error) => {
            leave();
            answered.send(Err(error.into())).ok();
            return;
        }
    };
    let answer = match actor.remote.as_ref().zip(sdp) {
        Some((remote, sdp)) => remote.answer(&sdp).await.map_err(SessionError::from),
        // Nobody would hear later that there is no such source.
        None => match actor.follow_shares().await {
            Ok(()) => Ok(String::new()),
            Err(refusal) => Err(SessionError::BadParameter(refusal)),
        },
    };
    let end = match answer {
        Ok(answer) => match answered.send(Ok(answer)) {
            Ok(()) => actor.live(&mut commands, &mut news, &mut messages).await,
            Err(_) => End::Gone("nobody waited for the answer"),
        },
        Err(error) => {
            // Off the registry first: whoever hears the refusal may try again at once.
            leave();
            answered.send(Err(error)).ok();
            return actor
                .end(End::Gone("it could not begin"), &mut commands)
                .await;
        }
    };
    leave();
    actor.end(end, &mut commands).await;
}

impl Actor {
    /// Blocks. The client first: the processors may still be loading.
    pub(super) fn stop(&self) {
        if let Some(remote) = &self.remote {
            remote.stop();
        }
        self.lanes.stop();
        self.shares.stop();
    }

    async fn live(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        news: &mut mpsc::UnboundedReceiver<Event>,
        messages: &mut mpsc::Receiver<String>,
    ) -> End {
        if let Err(refusal) = self.follow_shares().await {
            self.refuse(&refusal);
        }
        for patch in std::mem::take(&mut self.first) {
            if let Err(refusal) = self.apply(&patch).await {
                self.refuse(&refusal);
            }
        }
        self.record_if_wanted();
        let mut cloud = self.furniture.as_ref().map(|known| known.cloud.changes());
        self.follow_cloud();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::AddCandidates(candidates)) => {
                        if let Some(remote) = &self.remote {
                            remote.add_candidates(&candidates);
                        }
                    }
                    Some(Command::Apply { patch, reply }) => {
                        let outcome = self.apply(&patch).await;
                        self.post(&outbox::parameters_updated(&patch));
                        reply.send(outcome.map_err(SessionError::BadParameter)).ok();
                    }
                    Some(Command::Close { reply }) => return End::Asked(reply),
                    None => return End::Gone("the program ends"),
                },
                Some(event) = news.recv() => {
                    if let Some(end) = self.hear(event) {
                        return end;
                    }
                }
                Some(text) = messages.recv() => self.read(&text).await,
                () = changed(&mut cloud) => self.follow_cloud(),
                _ = tick.tick() => {
                    if let Some(reason) = self.look_after() {
                        return End::Gone(reason);
                    }
                }
            }
        }
    }

    fn hear(&mut self, event: Event) -> Option<End> {
        if let Some(remote) = &mut self.remote {
            remote.hear(&event, self.state.born.elapsed());
        }
        match event {
            Event::Refused(reason) => self.refuse(&reason),
            Event::Disconnected(reason) => return Some(End::Gone(reason)),
            Event::ProcessorStopped(reason) | Event::Failed(reason) => {
                return Some(End::Failed(reason));
            }
            // Of the client, or of a cloud lane, which listens itself.
            Event::Connected
            | Event::Latency
            | Event::ChannelOpened
            | Event::ChannelClosed
            | Event::HungUp
            | Event::Hardware(_)
            | Event::Stage(_) => {}
        }
        None
    }

    /// A message from the client's data channel. A bad one changes nothing but is answered.
    async fn read(&mut self, text: &str) {
        let outcome = match parameters::read(text) {
            Ok(patch) => self.apply(&patch).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = outcome {
            tracing::debug!(refusal, "a parameter message was refused");
            self.refuse(&refusal);
        }
    }

    async fn apply(&mut self, patch: &Parameters) -> Result<(), String> {
        let routed = parameters::route(patch);
        if let Some(paused) = routed.paused {
            self.handover.set_paused(paused);
        }
        if let Some(ids) = &routed.pipeline_ids {
            self.swap(ids, patch)?;
        }
        if !routed.processor.is_empty() {
            let (lanes, node) = (self.lanes.clone(), routed.node_id.clone());
            let patch = routed.processor.clone();
            let assets = self.assets();
            let applied = tokio::task::spawn_blocking(move || {
                let own = pictures::resolved(assets.as_ref(), &patch);
                lanes.apply(node.as_deref(), &patch, own)
            });
            match timeout(PATCHING, applied).await {
                Ok(Ok(outcome)) => outcome?,
                Ok(Err(_)) => return Err("the processor broke off".into()),
                Err(_) => tracing::warn!("a processor is busy; it will take the parameters later"),
            }
        }
        self.state.remember(&routed.remembered);
        if SHARED
            .iter()
            .any(|key| routed.remembered.contains_key(*key))
        {
            self.follow_shares().await?;
        }
        Ok(())
    }

    fn assets(&self) -> Option<Assets> {
        let furniture = self.furniture.as_ref();
        furniture.map(|furniture| furniture.assets.clone())
    }

    /// Goes to the cloud or leaves it, as asked for.
    fn follow_cloud(&self) {
        if let Some(Furniture { cloud, .. }) = self.furniture.clone() {
            let (lanes, known) = (self.lanes.clone(), self.state.parameters());
            let known = parameters::route(&known).processor;
            spawn("session-cloud", move || lanes.follow_cloud(&cloud, &known));
        }
    }

    /// Begins the recording that the initial parameters ask for; record nodes begin when they are told to.
    fn record_if_wanted(&self) {
        let wanted = self.state.parameters().get("recording") == Some(&true.into());
        if wanted && self.recordings.is_whole() {
            let (recordings, events) = (self.recordings.clone(), self.events.clone());
            spawn("session-record", move || {
                if let Err(error) = recordings.start(None) {
                    events.send(Event::Refused(error.to_string())).ok();
                }
            });
        }
    }

    /// Receives from and sends to other applications as remembered.
    async fn follow_shares(&self) -> Result<(), String> {
        let (shares, known) = (self.shares.clone(), self.state.parameters());
        tokio::task::spawn_blocking(move || shares.follow(&known))
            .await
            .map_err(|_| "the sharing broke off")?
    }

    /// Puts other loaded models in the place of the present ones; they start with everything said so far.
    fn swap(&self, ids: &[String], patch: &Parameters) -> Result<(), String> {
        let furniture = self.furniture.as_ref();
        let (processors, mut initial) = furniture
            .ok_or("this session cannot change its pipelines")?
            .models
            .bind(ids)?;
        initial.extend(self.state.parameters());
        initial.extend(patch.clone());
        let initial = parameters::route(&initial).processor;
        let (lanes, events, assets) = (self.lanes.clone(), self.events.clone(), self.assets());
        spawn("session-swap", move || {
            let refuse = |reason| _ = events.send(Event::Refused(reason));
            let initial = pictures::resolved_or_without(assets.as_ref(), &initial, refuse);
            if let Err(error) = lanes.swap_home(&processors, &initial) {
                events.send(Event::Refused(error.to_string())).ok();
            }
        });
        Ok(())
    }

    /// A change was not made: the client hears it, or else the log.
    fn refuse(&mut self, reason: &str) {
        if self.remote.is_none() {
            tracing::warn!(reason, "a change was refused");
        }
        self.post(&outbox::error(reason));
    }

    /// Says it to the client, if there is one.
    fn post(&mut self, message: &serde_json::Value) {
        if let Some(remote) = &mut self.remote {
            remote.post(message);
        }
    }

    /// The regular round; gives the reason when the client is gone.
    fn look_after(&mut self) -> Option<&'static str> {
        let remote = self.remote.as_mut()?;
        remote.look_after(&self.handover, &self.state, TICK)
    }

    /// Tells the client, frees everything, then tells those who waited.
    async fn end(mut self, end: End, commands: &mut mpsc::UnboundedReceiver<Command>) {
        let mut waiting = Vec::new();
        match end {
            End::Asked(reply) => {
                tracing::info!("the session was closed");
                self.post(&outbox::stream_stopped(None));
                waiting.push(reply);
            }
            End::Gone(reason) => tracing::info!(reason, "the session ended"),
            End::Failed(reason) => {
                tracing::warn!(reason, "the session failed");
                self.post(&outbox::stream_stopped(Some(&reason)));
            }
        }
        // Files first, beside the farewell: the program may be about to leave.
        let (closed, all_closed) = oneshot::channel();
        let recordings = self.recordings.clone();
        spawn("session-record", move || {
            recordings.end();
            closed.send(()).ok();
        });
        if let Some(remote) = &self.remote {
            remote.part().await;
        }
        commands.close();
        let (freed, done) = oneshot::channel();
        spawn("session-end", move || {
            self.stop();
            drop(self);
            freed.send(()).ok();
        });
        timeout(ENDING, async { tokio::join!(done, all_closed) })
            .await
            .ok();
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Close { reply } => waiting.push(reply),
                Command::Apply { .. } | Command::AddCandidates(_) => {}
            }
        }
        for reply in waiting {
            reply.send(()).ok();
        }
    }
}

/// Waits until the cloud is connected or left; for ever where there is none.
async fn changed(cloud: &mut Option<watch::Receiver<u64>>) {
    if let Some(changes) = cloud
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
