-- Rank of the incarnation that has a gateway's name. Others of a later rank were another box's, which has it no more.
ALTER TABLE gateways ADD COLUMN speaks INTEGER;

-- When the gateway received the block: parts of two that begin at one time are told apart by it. None of what was stored
-- before.
ALTER TABLE waveforms ADD COLUMN received_us INTEGER;
