--[[
  Sends the head of a tenant's record book to its ledger, where it has grown since.

  KEYS  1 how far each tenant's was sent
  ARGV  1 now (ms)   2 tag of the partition   3 tenant   4 what leaves call it   5 its last seq   6 that record's hash
  Gives 1 where it was sent.
]]
--@include heads_out
local sent = tonumber(redis.call('HGET', KEYS[1], ARGV[3]) or 0)
if tonumber(ARGV[5]) <= sent then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[5])
noteHead(ARGV[2], ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6], 'running')
sendHeads(ARGV[2], ARGV[1])
return 1
