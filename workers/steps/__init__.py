"""The steps of a build, one file each: `step(ctx)` computes, may run twice, and says Done, Wait, Hold or Cancel."""
