--[[
  Reads the first entries of runs that nobody has taken yet.

  KEYS  per run: queued record
  ARGV  1 tag of the partition   then per run: run id
  Gives per run {hash, bytes, content}, or {} for one that is not there or was taken.
]]
--@include queued
local reply = {}
for i, key in ipairs(KEYS) do
  local record = redis.call('GET', key)
  reply[i] = record and {expand(ARGV[1], ARGV[i + 1], record)} or {}
end
return reply
