#!/bin/sh
# An agent that is done in a millisecond: sh agent.sh FOLDER [claude's words]. Each run is a line in FOLDER/runs and
# writes a file that is named after its worktree; every 20th run falls over, every 20th ends without a result.

folder=$1 session=none role=implement how=new
shift
for word in "$@"; do
  case "$before" in
    --session-id) session=$word ;;
    --resume) session=$word how=resumed ;;
  esac
  case "$word" in
    --version) echo '0.0.0 (Claude Code, as the simulation plays it)'; exit 0 ;;
    --help)
      echo '-p --input-format --output-format --verbose --setting-sources --strict-mcp-config --permission-mode --tools'
      echo '--allowedTools --max-turns --max-budget-usd --resume --session-id --append-system-prompt-file --json-schema'
      exit 0 ;;
    --json-schema) role=review ;;
  esac
  before=$word
done

event() { printf '{"session_id":"%s",%s}\n' "$session" "$1"; }

if [ "$how" = resumed ] && [ ! -e "$folder/$session" ]; then
  event '"type":"result","subtype":"error_during_execution","is_error":true,"errors":["No conversation found with session ID: '"$session"'"]'
  exit 1
fi
: >> "$folder/$session"
echo "$role $how" >> "$folder/runs"
number=$(wc -l < "$folder/runs")
event '"type":"system","subtype":"init","model":"none","claude_code_version":"none"'
[ $((number % 20)) = 7 ] && exit 1
[ $((number % 20)) = 13 ] && exit 0
good='"type":"result","subtype":"success","is_error":false,"terminal_reason":"completed","num_turns":1,"total_cost_usd":0.01'
if [ "$role" = implement ]; then
  echo "made by run $number" >> "${PWD##*/}.txt"
  event "$good"',"result":"It is done."'
else
  event "$good"',"result":"{}","structured_output":{"summary":"It was read.","verdict":"comment","findings":[]}'
fi
