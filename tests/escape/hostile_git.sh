#!/bin/sh
# Run in a work tree by the task: makes its .git one that runs programs, reads files and leads elsewhere
# as soon as any git command is used on it. hostile_git.sh MARKS HOW
#   MARKS  a directory where each program that runs leaves a file of its name
#   HOW    config: settings and attributes; submodule: .gitmodules;
#          include: files of the host as configuration; worktree; gitfile, symlink, fifo, bare: .git is that
marks=$1
how=$2
git=${3:-git}

leave()
{
    printf "sh -c 'touch %s/%s; cat'" "$marks" "$1"
}

plant_hooks()
{
    mkdir -p .git/hooks .githooks
    for hook in pre-commit post-commit post-checkout post-merge post-index-change reference-transaction \
        prepare-commit-msg commit-msg pre-auto-gc post-rewrite pre-push pre-rebase pre-receive update; do
        printf '#!/bin/sh\ntouch "%s/hook-%s"\n' "$marks" "$hook" >".git/hooks/$hook"
        chmod +x ".git/hooks/$hook"
        cp ".git/hooks/$hook" .githooks/
    done
}

plant_config()
{
    $git config core.fsmonitor "sh -c 'touch $marks/fsmonitor; false'"
    $git config core.hooksPath "$PWD/.githooks"
    $git config core.pager "$(leave pager)"
    $git config core.editor "$(leave editor)"
    $git config core.sshCommand "$(leave ssh)"
    $git config core.askPass "$(leave askpass)"
    $git config core.gitProxy "$(leave proxy)"
    $git config core.alternateRefsCommand "$(leave alternate-refs)"
    $git config credential.helper "!$(leave credential)"
    $git config diff.external "$(leave diff-external)"
    $git config diff.evil.command "$(leave diff-command)"
    $git config diff.evil.textconv "$(leave textconv)"
    $git config merge.evil.driver "$(leave merge)"
    $git config filter.evil.clean "$(leave clean)"
    $git config filter.evil.smudge "$(leave smudge)"
    $git config filter.proc.process "$(leave process)"
    $git config filter.evil.required true
    $git config interactive.diffFilter "$(leave diff-filter)"
    $git config gpg.program "$marks/../gpg"
    $git config commit.gpgSign false
    $git config uploadpack.packObjectsHook "$(leave pack-objects)"
    $git config alias.status "!$(leave alias)"
    printf '* filter=evil diff=evil merge=evil\n*.p filter=proc\n' | tee .gitattributes >.git/info/attributes
    mkdir -p .git/objects/info
    echo "$marks/../objects" >.git/objects/info/alternates
    echo 'http://127.0.0.1:1/objects' >.git/objects/info/http-alternates
}

plant_submodule()
{
    printf '[submodule "x"]\n\tpath = sub\n\turl = --upload-pack=touch %s/submodule;\n\tupdate = !touch %s/update\n' \
        "$marks" "$marks" >.gitmodules
}

case $how in
submodule) plant_submodule ;;
config) plant_hooks; plant_config ;;
include)
    for name in include.path includeIf.gitdir:/.path core.attributesFile core.excludesFile; do
        $git config "$name" /etc/shadow
    done
    ;;
worktree) $git config core.worktree / ;;
gitfile) rm -rf .git; echo "gitdir: $marks/../evil.git" >.git ;;
symlink) rm -rf .git; ln -s "$marks/../evil.git" .git ;;
fifo) rm -rf .git; mkfifo .git ;;
bare) cp -R .git/. .; rm -rf .git; printf '[core]\n\tbare = true\n\tfsmonitor = touch %s/bare\n' "$marks" >config ;;
esac
echo changed >>hello.txt
echo new >new.txt
