//! What one call of the denoising network is about, row by row.

/// Rows on their way through the denoising network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// Latents, `[R, C, h, w]`.
    pub(crate) sample: &'a [f32],
    /// Timesteps, `[R]`.
    pub(crate) timesteps: &'a [f32],
    /// Embeddings of tokens, `[R, 77, D]`.
    pub(crate) context: &'a [f32],
    /// Embeddings of whole prompts, `[R, P]`; empty where the network wants none.
    pub(crate) pooled: &'a [f32],
    /// `[R, 6]`; empty where the network wants none.
    pub(crate) time_ids: &'a [f32],
    /// Embedded guidance scale, `[R, G]`; empty where the network wants none.
    pub(crate) guidance: &'a [f32],
    /// The same stamp means the same in all of them but the first two and the size; 0 means nothing.
    pub(crate) stamp: u64,
    /// Tokens of reference images, `[R, T, D]`; empty where the network wants none.
    pub(crate) tokens: &'a [f32],
    /// How much they count.
    pub(crate) reference_scale: f32,
    /// Scales of the adapters that are inputs of the network, in its order.
    pub(crate) lora_scales: &'a [f32],
    /// Height and width of a latent.
    pub(crate) latent: (usize, usize),
}

impl<'a> Rows<'a> {
    pub(super) fn part(&self, from: usize, to: usize) -> Self {
        let count = self.timesteps.len();
        let cut = |values: &'a [f32]| {
            let width = values.len() / count;
            &values[from * width..to * width]
        };
        Self {
            sample: cut(self.sample),
            timesteps: cut(self.timesteps),
            context: cut(self.context),
            pooled: cut(self.pooled),
            time_ids: cut(self.time_ids),
            guidance: cut(self.guidance),
            stamp: 0,
            tokens: cut(self.tokens),
            reference_scale: self.reference_scale,
            lora_scales: self.lora_scales,
            latent: self.latent,
        }
    }

    /// As many as `to`, the last one again and again; `filled` holds them.
    pub(super) fn filled_up<'f>(&self, to: usize, filled: &'f mut [Vec<f32>; 7]) -> Rows<'f>
    where
        'a: 'f,
    {
        let count = self.timesteps.len();
        let parts = [
            self.sample,
            self.timesteps,
            self.context,
            self.pooled,
            self.time_ids,
            self.guidance,
            self.tokens,
        ];
        for (filled, values) in filled.iter_mut().zip(parts) {
            let last = &values[values.len() - values.len() / count..];
            filled.clear();
            filled.extend_from_slice(values);
            (count..to).for_each(|_| filled.extend_from_slice(last));
        }
        let [
            sample,
            timesteps,
            context,
            pooled,
            time_ids,
            guidance,
            tokens,
        ] = filled;
        Rows {
            sample,
            timesteps,
            context,
            pooled,
            time_ids,
            guidance,
            stamp: 0,
            tokens,
            reference_scale: self.reference_scale,
            lora_scales: self.lora_scales,
            latent: self.latent,
        }
    }
}
