# bash completion for vigil-cli(1)

_vigil_cli()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} word seen="" i
	local options='--socket --config --data-dir --network --timeout --all --lines --help --version'
	local methods='getinfo gettowerinfo getusers getuser getappointments getallappointments getlocators
		gettrackers getpeers getcounters getslowlog scanstale getstalescan checkpoint getcheckpoint
		stop get_tower_info get_users
		get_user get_appointments get_all_appointments help'

	case $prev in
	--socket | --config)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--data-dir)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	--network)
		mapfile -t COMPREPLY < <(compgen -W 'main testnet3 testnet4 signet regtest' -- "$cur")
		return
		;;
	--timeout)
		return
		;;
	esac
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--socket | --config | --data-dir | --network | --timeout) ((i++)) ;;
		-*) ;;
		*)
			seen=$word
			break
			;;
		esac
	done
	if [[ $cur == -* ]]; then
		[[ -n $seen ]] && options='--all --lines'
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi
	case $seen in
	'' | help) mapfile -t COMPREPLY < <(compgen -W "$methods" -- "$cur") ;;
	getuser | get_user)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -W 'user_id= after= limit=' -- "$cur")
		;;
	getappointments | get_appointments)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -W 'locator= after= limit=' -- "$cur")
		;;
	getusers | getallappointments | getlocators | gettrackers | get_users | get_all_appointments)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -W 'after= limit=' -- "$cur")
		;;
	getslowlog)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -W 'limit=' -- "$cur")
		;;
	checkpoint)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -W 'dir=' -- "$cur")
		;;
	scanstale)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -W 'hash=' -- "$cur")
		;;
	esac
} && complete -F _vigil_cli vigil-cli
