# Read by the shell of every job (BASH_ENV): notes each step's start and end, and goes wrong where the plan says so.
#   $FAULTS/events           "<start or end> <seconds> <Slurm job> <node> <folder>", a line each
#   $FAULTS/plan/<folder>    hang: once, until it is killed      slow SECONDS: once, then works
#                            hog MB: at every start holds so much memory for a while, then works
# <folder> is the step's --out, in the names of plans with - for /.
python() {
    if [ "$1" != -m ] || [ "$3" != --out ]; then
        command python "$@"
        return
    fi
    local plan="$FAULTS/plan/${4//\//-}" what="${SLURM_JOB_ID:--} ${SLURMD_NODENAME:--} $4" kind amount
    echo "start $EPOCHREALTIME $what" >> "$FAULTS/events"
    if [ -f "$plan" ]; then
        read -r kind amount < "$plan"
        [ "$kind" = hog ] || rm "$plan"
        case $kind in
        hang) sleep 3600 ;;
        slow) sleep "$amount" ;;
        hog) command python -c "import time; held = b'x' * ($amount << 20); time.sleep(8)" ;;
        esac
    fi
    command python "$@" || return
    echo "end $EPOCHREALTIME $what" >> "$FAULTS/events"
}
