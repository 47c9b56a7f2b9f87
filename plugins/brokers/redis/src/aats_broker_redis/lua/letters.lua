#!lua
-- Purge dead letters, or publish them again, and return how many there were.
-- ARGV: topic or pattern, `purge` or `replay`, a packed list of ids or nil for all, [data and priority instead of theirs]
local pattern, replays, ids = ARGV[3], ARGV[4] == 'replay', cmsgpack.unpack(ARGV[5])
local count = 0

local function finish(topic, letters, letter)
    local fields = letter[2]
    if replays then publish(topic, ARGV[6] or fields[2], fields[4], tonumber(ARGV[7] or fields[6]), 0) end
    count = count + call('XDEL', letters, letter[1])
end

for _, topic in ipairs(call('SMEMBERS', root .. 'dead')) do
    if fits(pattern, topic) then
        local letters = root .. 'dead:' .. topic
        if not ids then
            count = count + call('XLEN', letters)
            call('UNLINK', letters)
        else
            for _, id in ipairs(ids) do
                local found = string.match(id, '^%d+%-0$') and call('XRANGE', letters, id, id) or {}
                for _, letter in ipairs(found) do finish(topic, letters, letter) end
            end
        end
        if call('XLEN', letters) == 0 then
            call('UNLINK', letters)
            call('SREM', root .. 'dead', topic)
        end
    end
end
wake()
return count
